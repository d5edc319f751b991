"""Eighteen bad plugins beside a good one: each is named with its fault and a remedy, and none harms the rest."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_plugins import BAD, install
from cli_runs import SMALL, TINY, assert_refused, fork_scmrl, invoke, run_python, run_scmrl
from plugin_site import PluginSite

from scmrl_plugins.cli import COMMANDS
from scmrl_plugins.explain.clock import Clock
from scmrl_plugins.registry import catalogue


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = PluginSite(tmp_path_factory.mktemp("bad") / "site")
    install(site)
    return site.folder


@pytest.fixture
def all_bad(folder: Path, site: PluginSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """All of them in this process; standard output at the level of the system is nobody's business here."""
    monkeypatch.syspath_prepend(folder)
    catalogue.cache_clear()
    yield folder
    PluginSite(folder).forget()  # other tests have modules of the same names


def errors_of(document: dict[str, list[dict[str, str]]], name: str) -> list[str]:
    return [broken["error"] for broken in document["broken"] if broken["distribution"] == f"scmrl-z-{name}"]


@pytest.fixture(scope="module")
def listed(folder: Path) -> dict[str, list[dict[str, str]]]:
    done = run_scmrl("plugins", "--json", PYTHONPATH=str(folder))
    assert done.code == 0
    assert "hello" in done.err
    assert "hidden" in done.err
    return json.loads(done.out)


@pytest.fixture(scope="module")
def strict(folder: Path) -> dict[str, list[dict[str, str]]]:
    done = run_scmrl("plugins", "--strict", "--json", PYTHONPATH=str(folder))
    assert done.code == 1
    return json.loads(done.out)


def test_there_are_eighteen() -> None:
    assert len(BAD) == 18


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_it_is_listed_with_its_fault(name: str, listed: dict[str, list[dict[str, str]]]) -> None:
    bad = BAD[name]
    errors = errors_of(listed, name)
    assert bool(errors) == bool(bad.listed), errors
    for word in bad.listed:
        assert word in errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_strictly_it_is_listed_with_a_remedy(
    name: str, listed: dict[str, list[dict[str, str]]], strict: dict[str, list[dict[str, str]]]
) -> None:
    bad, errors = BAD[name], errors_of(listed, name)
    everything = errors_of(strict, name)
    assert everything[: len(errors)] == errors
    assert everything, "not even --strict names it"
    for word in bad.strict:
        assert any(word in error for error in everything[len(errors) :]), everything
    for error in everything:
        assert any(word in error for word in ("pip ", "write '", "must give")), f"no remedy: {error}"


@pytest.mark.slow
def test_the_good_one_has_no_fault(listed: dict[str, list[dict[str, str]]], strict: dict[str, list]) -> None:
    assert "good" in [component["name"] for component in listed["components"]]
    assert [b for b in listed["broken"] + strict["broken"] if b["distribution"] == "scmrl-good"] == []


@pytest.mark.parametrize("name", BAD)
def test_building_it_ends_in_one_line_or_works(name: str, all_bad: Path) -> None:
    bad = BAD[name]
    done = invoke("build", *SMALL, "--json", "--fusion", bad.component or name)
    if not bad.build:
        assert done.code == 0, done.err
        assert json.loads(done.out)["kinds"]["fusion"] == (bad.component or name)
        return
    lines = done.err.splitlines()
    assert done.code == 2
    assert done.out == ""
    assert lines[-1].startswith("Error: ")
    assert not any("Traceback" in line for line in lines)
    for word in bad.build:
        assert word in lines[-1]


@pytest.mark.slow
def test_every_command_works_beside_them(
    folder: Path, all_bad: Path, tmp_path: Path, small_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock.__init__, "__defaults__", (1.0,))  # seconds for what scmrl explain measures
    shown: set[str] = set()

    def scmrl(*args: str | Path, code: int = 0) -> str:
        shown.add(str(args[0]))
        done = invoke(*args)  # anything but an exit is a failure there
        assert done.code == code, done.err
        return done.out

    run = tmp_path / "run"
    done = fork_scmrl(
        "train",
        *TINY,
        *("--fusion", "good:good", "--device", "cpu", "-o", run),
        PYTHONPATH=str(folder),
        SCMRL_CACHE=str(small_cache),
    )
    assert done.code == 0, done.err
    shown.add("train")
    json.loads(scmrl("build", *SMALL, "--fusion", "good:good", "--json"))
    assert json.loads(scmrl("eval", run, "--device", "cpu", "--json"))["n"] > 0
    assert scmrl("explain", run)
    assert json.loads(scmrl("profile", run, "--device", "cpu", "--json"))["layers"]
    assert "good" in scmrl("plugins")
    assert json.loads(scmrl("check", "late", "--json"))["failed"] == 0
    scmrl("predict", run, "--audio", "none.wav", "--visual", "none.png", code=2)
    scmrl("new-plugin", "mine")
    assert Path("scmrl-mine").is_dir()
    scmrl("demo", "-o", run, code=2)  # already exists
    Path("new-match").symlink_to(run)
    scmrl("demo", "-o", "new", code=2)  # as does the second run
    scmrl("bench", "accuracy", "none.toml", "-o", run, code=2)
    scmrl("sweep", "none.toml", "-o", run, code=2)
    assert "scmrl:small_cpu" in scmrl("examples")
    scmrl("export", run, "--format", "safetensors", "--samples", "4", "-o", tmp_path / "run.safetensors")
    scmrl("import", "none.pt", "-o", "imported", code=2)
    scmrl("push", run, tmp_path / "shared")
    scmrl("serve", "none", code=2)
    assert "av-digits" in scmrl("data", "list")
    assert shown == set(COMMANDS)


def test_a_crash_of_the_process_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "crash.py").write_text("import ctypes\n\nctypes.string_at(0)\n")
    done = run_scmrl("plugins", "--plugin", tmp_path / "crash.py", cwd=tmp_path)
    assert done.code == -signal.SIGSEGV
    assert "Segmentation fault" in done.err
    assert f'File "{tmp_path / "crash.py"}", line 3' in done.err


def test_they_cost_help_nothing(folder: Path) -> None:
    code = "import sys, runpy; sys.argv = ['scmrl', '--help']\n"
    code += "try: runpy.run_module('scmrl_plugins', run_name='__main__')\n"
    code += "except SystemExit: print('TORCH' if 'torch' in sys.modules else 'LIGHT', file=sys.stderr)"
    done = run_python("-c", code, PYTHONPATH=str(folder))
    assert done.err == "LIGHT\n"  # and none of them was asked: two of them print


@pytest.mark.slow
def test_json_stays_one_document_whatever_prints(folder: Path) -> None:
    done = fork_scmrl("build", *SMALL, "--fusion", "prints", "--json", PYTHONPATH=str(folder))
    assert json.loads(done.out)["kinds"]["fusion"] == "prints"
    assert "hidden" in done.err


def test_strict_is_content_with_the_built_ins() -> None:
    assert invoke("plugins", "--strict").code == 0


def test_an_unknown_component_quotes_the_plugin_of_that_name(all_bad: Path) -> None:
    done = invoke("build", "--fusion", "syntax-error")
    assert_refused(
        type(done)(done.code, done.out, done.err.splitlines()[-1] + "\n"),
        "plugins with problems: syntax-error: Syntax",
    )

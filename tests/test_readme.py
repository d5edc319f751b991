"""README.md and docs/guide.md are true: their commands, configuration, Python, plugin and tables."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, invoke, sets
from digit_files import av
from plugin_site import PluginSite

from scmrl_plugins.explain.clock import Clock

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language, those of the README first."""
    return re.findall(rf"^```{language}\n(.*?)^```", README + GUIDE, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines()]


def test_there_are_two_commands_to_start() -> None:
    assert [line for line in commands() if "pip install" in line] == [
        "pip install -e '.[demo]' && scmrl demo",
        "pip install -e '.[test]' && pytest",
    ]


@pytest.mark.slow
def test_the_commands_work_in_their_order(
    small_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCMRL_CACHE", str(small_cache))
    monkeypatch.setattr(Clock.__init__, "__defaults__", (4.0,))  # seconds for what scmrl explain measures
    sample = av().splits()["test"][0]
    for file, column in (("three.wav", "audio"), ("three.png", "visual")):
        (tmp_path / file).write_bytes(sample[column]["bytes"])
    shown = [line for line in commands() if line.startswith("scmrl ")]
    assert len(shown) >= 6
    for line in shown:
        arguments = line.split()[1:]
        if arguments[0] in ("train", "bench"):  # the same command, with a smaller model on fewer digits
            arguments += sets({**SMALL_MODEL, **SMALL_DATA})
        if arguments[0] == "train":  # half the operators to export, which takes longest
            arguments += sets({"model.steps": 1, "fusion.attention": "spatial"})
        if arguments[:2] == ["data", "show"]:
            arguments += sets({key: value for key, value in SMALL_DATA.items() if key.startswith("dataset.")})
        if arguments[0] == "bench":  # of five methods and three seeds one
            arguments += ["--only", "late-0"]
        done = invoke(*arguments)
        assert done.code == 0, f"{line}: {done.err}"


def test_the_pages_link_to_files() -> None:
    for folder, page in ((ROOT, README), (ROOT / "docs", GUIDE)):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page):
            assert (folder / target).exists(), target


def test_the_configuration_builds(tmp_path: Path) -> None:
    import scmrl_plugins

    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (text,) = [block for block in blocks("toml") if block.startswith("# mine.toml")]
    (tmp_path / "mine.toml").write_text(text)
    model = scmrl_plugins.build(tmp_path / "mine.toml")
    assert model.config.fusion.options["attention"] == "spatial"
    assert model.config.model.embed_dims == 32


def test_the_python_runs() -> None:
    (text,) = [block for block in blocks("python") if "scmrl_plugins.build" in block]
    namespace: dict[str, object] = {}
    exec(compile(text, "README.md", "exec"), namespace)
    assert namespace["model"].config.fusion.options["alpha"] == 1.0  # type: ignore[attr-defined]


def test_the_plugin_is_twenty_lines_and_builds(site: PluginSite) -> None:
    words = ("def scmrl_register", "class GatedFusion")
    hook, model = (block for word in words for block in blocks("python") if word in block)
    assert len([line for line in (hook + model).splitlines() if line.strip()]) <= 20
    package = site.folder / "scmrl_gated"
    package.mkdir()
    (package / "__init__.py").write_text(hook)
    (package / "model.py").write_text(model)
    (declaration,) = blocks("ini")
    setup = configparser.ConfigParser()
    setup.read_string(declaration)
    assert setup["options"]["packages"] == package.name
    site.add(setup["metadata"]["name"], f"[scmrl]{setup['options.entry_points']['scmrl']}\n")
    assert "gated" in invoke("plugins").out
    assert "gated" in invoke("build", "--fusion", "gated", *sets(SMALL_MODEL), "--device", "cpu").out

"""``scmrl new-plugin``: what it writes installs, conforms, and runs; what it refuses, it leaves alone."""

from __future__ import annotations

import ast
import configparser
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_runs import (
    SMALL_MODEL,
    Outcome,
    assert_refused,
    contents,
    fork_pytest,
    fork_scmrl,
    invoke,
    run_python,
    sets,
)
from plugin_site import PluginSite

from scmrl_plugins.registry import INTERFACE_VERSION, KINDS
from scmrl_plugins.scaffold import package

ROOT = Path(__file__).parents[2]
NAMES = {
    "neuron": "leaky",
    "encoder": "latency",
    "backbone": "patches",
    "fusion": "cross-gated",
    "readout": "peak",
    "loss": "contrast",
    "dataset": "pairs",
    "modulation": "even",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new plugin of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind, name in NAMES.items():
        done = invoke("new-plugin", name, "--kind", kind, "-o", folder / f"scmrl-{name}")
        assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def installed(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of them, in which pytest leaves files, as pip installs them, into a folder ``site`` beside them.

    Of setup.cfg, what it declares is copied; pip, which takes seconds a package, installs one in the tutorial.
    """
    folder = tmp_path_factory.mktemp("installed")
    site = PluginSite(folder / "site")
    for source in shutil.copytree(packages, folder / "sources").iterdir():
        setup = configparser.ConfigParser()
        setup.read(source / "setup.cfg")
        package = setup["options"]["packages"]
        shutil.copytree(source / package, site.folder / package)
        points = f"[scmrl]{setup['options.entry_points']['scmrl']}\n"
        site.add(setup["metadata"]["name"], points, setup["metadata"]["version"])
    return site.folder


def test_there_is_one_of_every_kind() -> None:
    assert NAMES.keys() == set(KINDS)


@pytest.mark.slow
def test_they_are_listed_at_once(installed: Path, tmp_path: Path) -> None:
    done = fork_scmrl("plugins", "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    listed = json.loads(done.out)
    components = {(entry["kind"], entry["name"], entry["plugin"]) for entry in listed["components"]}
    assert {(kind, name, name) for kind, name in NAMES.items()} <= components
    versions = {plugin["distribution"]: plugin["version"] for plugin in listed["plugins"]}
    assert {versions[f"scmrl-{name}"] for name in NAMES.values()} == {"0.1.0"}
    assert listed["broken"] == []


@pytest.mark.slow
def test_their_own_tests_pass(installed: Path) -> None:
    sources = installed.parent / "sources"
    folders = [f"scmrl-{name}/tests" for name in NAMES.values()]
    done = fork_pytest("-q", "-rs", *folders, cwd=sources, PYTHONPATH=str(installed))
    assert done.code == 0, done.out + done.err
    assert "SKIPPED" not in done.out


@pytest.mark.slow
def test_all_others_train_together(
    installed: Path, tmp_path: Path, small_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    from scmrl_pairs.pairs import Pairs

    Pairs.fixture(tmp_path / "data")
    chosen = {kind: name for kind, name in NAMES.items() if kind not in ("fusion", "loss")}
    options = [text for kind, name in chosen.items() for text in (f"--{kind}", name)]
    settings = {**SMALL_MODEL, "dataset.root": tmp_path / "data", "neuron.threshold": 0.3, "train.epochs": 1}
    done = fork_scmrl(
        *(
            "train",
            *options,
            "--loss",
            "ce",
            "--loss",
            "contrast",
            *sets(settings),
            "--device",
            "cpu",
            "-o",
            "run",
        ),
        cwd=tmp_path,
        PYTHONPATH=str(installed),
        SCMRL_CACHE=str(small_cache),
    )
    assert done.code == 0, done.err
    assert "scmrl-pairs" in (tmp_path / "run" / "environment.json").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_what_its_author_starts_from(packages: Path, kind: str) -> None:
    name = NAMES[kind]
    module = name.replace("-", "_")
    files = contents(packages / f"scmrl-{name}")
    hook, component, test = f"scmrl_{module}/__init__.py", f"scmrl_{module}/{module}.py", f"tests/test_{module}.py"
    assert files.keys() == {"README.md", "pyproject.toml", "setup.cfg", hook, component, test}
    text = {path: content.decode() for path, content in files.items()}
    assert f"scmrl_interface = {INTERFACE_VERSION}\n" in text[hook]
    assert not {"torch", "numpy"} & imported(text[hook])
    for path in (hook, component):
        ours = {name for name in imported(text[path]) if name.startswith("scmrl_plugins")}
        allowed = ("scmrl_plugins.core.interfaces", "scmrl_plugins.registry")
        assert all(name == "scmrl_plugins" or name.startswith(allowed) for name in ours), ours
    assert f'parametrize_with_checks(package="scmrl-{name}")' in text[test]
    for command in ("pip install -e", f"scmrl check --package scmrl-{name}", "\npytest\n", f"--{kind} {name}"):
        assert command in text["README.md"]
    for path, content in text.items():
        assert content.endswith("\n"), path
        assert not content.endswith("\n\n"), path
        assert "$" not in content, path


def imported(source: str) -> set[str]:
    """The modules that a source imports, wherever it does."""
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.slow
def test_it_is_as_tidy_as_this_project(packages: Path) -> None:
    pytest.importorskip("ruff")
    for folder in sorted(packages.iterdir()):
        for what in (["check"], ["format", "--check"]):
            command = ["ruff", *what, "--no-cache", "--config", str(ROOT / "pyproject.toml"), "."]
            done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_templates_are_installed_with_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    package = ROOT / "scmrl_plugins"
    patterns = setup["options.package_data"]["scmrl_plugins"].split()
    taken = {path for pattern in patterns for path in package.glob(pattern)}
    assert {path for path in (package / "scaffold" / "templates").rglob("*") if path.is_file()} <= taken


def test_it_says_what_it_wrote_and_what_comes_next() -> None:
    done = invoke("new-plugin", "gated")
    assert (done.code, done.err) == (0, "")
    written, next_ = done.out.split("next:\n")
    assert {line.strip() for line in written.splitlines()[1:]} == contents(Path("scmrl-gated")).keys()
    assert [line.strip() for line in next_.splitlines()] == [
        "cd scmrl-gated",
        "pip install -e '.[test]'",
        "scmrl check --package scmrl-gated",
        "pytest",
        "scmrl train --fusion gated",
    ]


@pytest.mark.parametrize("name", ["gated", "scmrl-gated", "scmrl_gated", "Gated"])
def test_forms_of_a_name(name: str) -> None:
    chosen = package.names(name, "fusion")
    assert (chosen.distribution, chosen.package) == ("scmrl-gated", "scmrl_gated")
    assert (chosen.component, chosen.module, chosen.cls) == ("gated", "gated", "Gated")


def test_a_name_of_several_words() -> None:
    chosen = package.names("cross_gated-2d", "fusion")
    assert (chosen.distribution, chosen.package) == ("scmrl-cross-gated-2d", "scmrl_cross_gated_2d")
    assert (chosen.component, chosen.module, chosen.cls) == ("cross-gated-2d", "cross_gated_2d", "CrossGated2d")


@pytest.mark.parametrize(
    ("name", "kind", "complaint"),
    [
        ("", "fusion", "is empty"),
        ("scmrl-", "fusion", "is empty"),
        ("2d", "fusion", "starts with a digit"),
        ("scmrl_2d", "fusion", "starts with a digit"),
        ("a.b", "fusion", "letters and digits"),
        ("a b", "fusion", "letters and digits"),
        ("../up", "fusion", "letters and digits"),
        ("a--b", "fusion", "letters and digits"),
        ("gated-", "fusion", "letters and digits"),
        ("gated\n", "fusion", "letters and digits"),
        ("größe", "fusion", "letters and digits"),
        ("lambda", "neuron", "keyword of Python"),
        ("none", "neuron", "keyword of Python"),
        ("plugins", "fusion", "framework itself"),
        ("late", "fusion", "name of a built-in fusion"),
        ("plifnode", "neuron", "'PLIFNode' is the name of a built-in neuron"),
        ("fusions", "neuron", "name of the built-in plugin 'fusions'"),
        ("tensor", "fusion", "uses Tensor already"),
        ("triangle", "neuron", "uses Triangle already"),
        ("config", "fusion", "uses Config already"),
    ],
)
def test_a_bad_name_is_refused(name: str, kind: str, complaint: str) -> None:
    assert_refused(invoke("new-plugin", "--kind", kind, "--", name), "name ", complaint, "choose another")
    assert list(Path().iterdir()) == []


def test_a_name_of_another_kinds_built_in_is_free() -> None:
    assert invoke("new-plugin", "late", "--kind", "neuron").code == 0


def test_an_installed_strangers_name_is_refused_and_ones_own_is_not(site: PluginSite) -> None:
    site.add_good("gated")
    site.add("other", {"taken": "scmrl_gated"})
    assert invoke("new-plugin", "gated").code == 0
    assert_refused(invoke("new-plugin", "taken"), "'taken' is the name of plugin 'taken' (other 1.0)")


def test_an_unknown_kind_is_refused() -> None:
    assert_refused(invoke("new-plugin", "gated", "--kind", "nueron"), "nueron", "neuron")


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert invoke("new-plugin", "gated", "-o", folder).code == 0
    (folder / "README.md").write_text("mine")
    before = contents(tmp_path)
    assert_refused(invoke("new-plugin", "gated", "-o", folder), str(folder), "already exists")
    assert_refused(invoke("new-plugin", "gated", "-o", folder / "README.md"), "already exists")
    assert_refused(invoke("new-plugin", "gated", "-o", folder / "README.md" / "in"), "cannot be written")
    assert contents(tmp_path) == before


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert_refused(invoke("new-plugin", "gated", "-o", tmp_path / "link"), "already exists")
    assert not (tmp_path / "nowhere").exists()


def test_folders_that_are_empty_or_missing_are_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    places = [tmp_path / "empty", tmp_path / "not" / "yet" / "there", Path()]
    for place in places:
        assert invoke("new-plugin", "gated", "-o", place).code == 0
    first, *others = map(contents, places)
    assert all(other == first for other in others)
    assert "scmrl_gated/gated.py" in first
    assert list(tmp_path.rglob(".scmrl*")) == []


@pytest.mark.parametrize("step", ["write_text", "rename"])
@pytest.mark.parametrize("there", [True, False])
def test_a_failure_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, there: bool
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    target = base if there else base / "new" / "gated"
    done: list[Path] = []
    original = getattr(Path, step)

    def fails(path: Path, *args: Any, **kwargs: Any) -> Any:
        if len(done) == (3 if there or step == "write_text" else 0):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        done.append(path)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, step, fails)
    outcome: Outcome = invoke("new-plugin", "gated", "-o", target)
    monkeypatch.undo()
    assert_refused(outcome, str(target), "No space left on device")
    assert list(base.iterdir()) == []


def test_it_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from scmrl_plugins.scaffold import package\n"
        "package.render(package.names('gated', 'fusion')); sys.exit('torch' in sys.modules)"
    )
    assert run_python("-c", code, cwd=tmp_path).code == 0

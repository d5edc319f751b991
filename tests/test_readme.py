"""README.md and docs/guide.md are true: their commands, configuration, Python, plugin and tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_runs import SMALL_DATA, SMALL_MODEL, fork_scmrl, run_python, sets

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
def test_the_commands_work_in_their_order(small_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shown = [line for line in commands() if line.startswith("scmrl ")]
    assert len(shown) >= 6
    for line in shown:
        arguments = line.split()[1:]
        if arguments[0] in ("train", "bench"):  # the same command, with a smaller model on fewer digits
            arguments += sets({**SMALL_MODEL, **SMALL_DATA})
        if arguments[0] == "bench":  # of three seeds one
            arguments += ["--only", "*-0"]
        done = fork_scmrl(*arguments, cwd=tmp_path, SCMRL_CACHE=str(small_cache))
        assert done.code == 0, f"{line}: {done.err}"


def test_the_results_are_those_of_the_benchmarks() -> None:
    def methods(folder: str) -> dict[str, Any]:
        path = ROOT / "benchmarks" / "results" / folder / "results.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["methods"]
        return found

    spoken, embedded = methods("spoken_digits"), methods("av_digits")
    expected = []
    for name in spoken:
        accuracies = [
            "{mean:.1f} ± {std:.1f}".format(**{key: 100 * cell[key] for key in ("mean", "std")})
            for method in (spoken[name], embedded[name])
            for cell in (method["conditions"][condition] for condition in ("clean", "audio-0dB", "visual-0dB"))
        ]
        expected.append([f"`{name}`", *accuracies, f"{spoken[name]['energy_joules']['mean'] * 1e6:.1f}"])
    section = README.partition("\n## Results\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]] == expected


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


@pytest.fixture
def third_party(tmp_path: Path) -> Path:
    """README's plugin as a source tree."""
    words = ("def scmrl_register", "class GatedFusion")
    hook, model = (block for word in words for block in blocks("python") if word in block)
    (declaration,) = blocks("ini")
    package = tmp_path / "scmrl_gated"
    package.mkdir()
    (package / "__init__.py").write_text(hook)
    (package / "model.py").write_text(model)
    (tmp_path / "setup.cfg").write_text(declaration)
    (tmp_path / "setup.py").write_text("from setuptools import setup\nsetup()\n")
    return tmp_path


def test_the_plugin_is_twenty_lines(third_party: Path) -> None:
    text = "".join((third_party / "scmrl_gated" / name).read_text() for name in ("__init__.py", "model.py"))
    assert len([line for line in text.splitlines() if line.strip()]) <= 20


@pytest.mark.slow
def test_the_plugin_installs_and_builds(third_party: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = ("-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site))
    done = run_python(*pip, str(third_party), cwd=tmp_path)
    assert done.code == 0, done.err
    assert "gated" in fork_scmrl("plugins", cwd=tmp_path, PYTHONPATH=str(site)).out
    assert "gated" in fork_scmrl("build", "--fusion", "gated", cwd=tmp_path, PYTHONPATH=str(site)).out

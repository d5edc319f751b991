"""Help and the list of plugins come at once; the heavy libraries are for those who build something."""

from __future__ import annotations

import json
import logging
import resource
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_runs import TINY, invoke, run_python, run_scmrl
from PIL import Image

from scmrl_plugins import __version__
from scmrl_plugins.cli import COMMANDS, main
from scmrl_plugins.cli.common import output
from scmrl_plugins.registry import KINDS, discover

COMPILER = {"torch._dynamo", "torch._inductor.codecache", "sympy"}
HEAVY = {"torch", "torchvision", "numpy", "pydantic", "rich", "timm", "braincog", "datasets", "matplotlib"}


def test_help_and_lists_start_without_the_heavy_libraries() -> None:
    """Nor is torch there before huge pages are requested, which it reads when it is imported."""
    lines = [
        ["--help"],
        ["--version"],
        ["plugins"],
        ["plugins", "--json"],
        *([name, "--help"] for name in COMMANDS),
    ]
    program = (
        "import contextlib, io, json, os, sys\n"
        "from scmrl_plugins.cli import main\n"
        "found = []\n"
        f"for line in {lines}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        try:\n"
        "            main(line)\n"
        "        except SystemExit as end:\n"
        f"            found.append([line, end.code, bool(out.getvalue()), sorted({HEAVY} & set(sys.modules))])\n"
        "print(json.dumps([found, 'click' in sys.modules, os.environ['THP_MEM_ALLOC_ENABLE']]))\n"
    )
    done = run_python("-c", program)
    assert json.loads(done.out) == [[[line, 0, True, []] for line in lines], True, "1"], done.err


PROGRAM = """
import os, sys
import torch  # once for all
from scmrl_plugins.cli import main

def in_a_fork(stage):
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    code = 0
    try:
        stage()
    except SystemExit as end:
        code = end.code
    print("stage", stage.__name__, code, *sys.modules, file=sys.stderr, flush=True)
    os._exit(0)

def build():
    main(["build"])

def loop():
    import scmrl_plugins.core.training.loop

def train():
    from scmrl_plugins.core.training import step
    call = step.Step.__call__

    def first(*arguments):
        call(*arguments)
        sys.exit()

    step.Step.__call__ = first
    main(["train", *sys.argv[2:]])

def predict():
    main(["predict", sys.argv[1], "--audio", "a.wav", "--visual", "i.png"])

def eval():
    main(["eval", sys.argv[1]])

for stage in (build, loop, train, predict, eval):
    in_a_fork(stage)
"""


@pytest.fixture(scope="module")
def imported(
    trained: Path, small_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, frozenset[str]]:
    """The modules that each of some commands has imported, where before it only torch was."""
    folder = tmp_path_factory.mktemp("imported")
    Image.new("L", (8, 8), 200).save(folder / "i.png")
    soundfile.write(folder / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 4000), 8000)
    arguments = ["-c", PROGRAM, str(trained), *TINY, "--device", "cpu", "-o", "run"]
    done = run_python(*arguments, cwd=folder, SCMRL_CACHE=str(small_cache), SCMRL_COMPILE="always")
    lines = [line.split()[1:] for line in done.err.splitlines() if line.startswith("stage ")]
    ends = {stage: code for stage, code, *_ in lines}
    assert ends == {"build": "0", "loop": "0", "train": "None", "predict": "0", "eval": "0"}, done.err
    return {stage: frozenset(modules) for stage, _, *modules in lines}


@pytest.mark.slow
def test_a_model_is_built_without_what_data_training_and_reports_need(imported: dict[str, frozenset[str]]) -> None:
    assert {"torch", "braincog", "scmrl_plugins.plugins.fusions.cmrl"} <= imported["build"]
    unused = {
        "accelerate",
        "braincog.base",
        "datasets",
        "matplotlib",
        "PIL",
        "scipy",
        "sklearn",
        "soundfile",
        "timm",
    }
    assert {*unused, "torchvision", "pandas", "pyarrow"} & imported["build"] == set()
    # Nor does training import those for models, plots and data.
    assert "accelerate" in imported["loop"]
    assert {"datasets", "matplotlib", "pandas", "sklearn", "timm", "torchvision"} & imported["loop"] == set()


@pytest.mark.slow
def test_training_takes_its_first_step_without_the_compiler_and_what_reports_need(
    imported: dict[str, frozenset[str]],
) -> None:
    """torch's compiler takes seconds to import; neurons, optimizers, accelerate and torchvision each would."""
    needless = {*COMPILER, "torch.distributed.tensor", "torchvision", "timm", "matplotlib", "jinja2"}
    assert not needless & imported["train"]


@pytest.mark.slow
def test_predictions_and_evaluations_start_without_what_they_do_not_need(
    imported: dict[str, frozenset[str]],
) -> None:
    needless = {*COMPILER, "torchvision", "timm", "matplotlib", "jinja2", "sklearn", "pandas", "scipy.signal"}
    assert not {*needless, "datasets", "accelerate"} & imported["predict"]
    assert not needless - {"pandas"} & imported["eval"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "plugins"])
def test_it_starts_about_as_fast_as_click_and_pluggy(command: str) -> None:
    def seconds(*args: str) -> float:
        """Of the processor, which other processes on the machine change least."""
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run_python(*args).code == 0
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime

    # In turns and pair by pair, so that what else the machine does hits both.
    ratios = [seconds("-m", "scmrl_plugins", command) / seconds("-c", "import click, pluggy") for _ in range(5)]
    assert statistics.median(ratios) <= 2.5, ratios


def test_plugins_json_is_the_catalogue() -> None:
    done = run_scmrl("plugins", "--json")
    assert done.code == 0
    listed = json.loads(done.out)
    found = discover()
    assert listed["components"] == [
        {"kind": e.kind, "name": e.name, "plugin": e.plugin.name, "summary": e.summary} for e in found.entries
    ]
    assert listed["plugins"] == [
        {"name": p.name, "distribution": p.distribution, "version": p.version, "file": p.file}
        for p in found.plugins
    ]
    assert listed["broken"] == [
        {"name": b.name, "distribution": b.distribution, "error": b.error} for b in found.broken
    ]
    assert {"kind": "fusion", "name": "cmrl", "plugin": "fusions"}.items() <= max(
        listed["components"], key=lambda component: component["name"] == "cmrl"
    ).items()


def test_plugins_lists_every_kind_component_and_plugin() -> None:
    done = invoke("plugins")
    lines = [line.strip() for line in done.out.splitlines()]
    found = discover()
    assert done.code == 0
    assert [line[:-1] for line in lines if line[:-1] in KINDS] == list(KINDS)
    for entry in found.entries:
        assert any(line.startswith(f"{entry.name} ") and entry.summary in line for line in lines)
    for plugin in found.plugins:
        assert any(line.startswith(f"{plugin.name} ") and plugin.distribution in line for line in lines)


def test_help_names_every_command_with_its_purpose() -> None:
    done = invoke("--help")
    assert done.code == 0
    assert done.err == ""
    lines = [line.split() for line in done.out.splitlines()]
    for name in COMMANDS:
        assert any(line[:1] == [name] and len(line) > 3 for line in lines), name


@pytest.mark.parametrize("group", [[], ["data"], ["bench"]], ids=str)
def test_summaries_fit_80_columns(group: list[str]) -> None:
    lines = invoke(*group, "--help").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]


def test_without_a_command_it_shows_the_help() -> None:
    assert invoke() == invoke("--help")


def test_version() -> None:
    assert invoke("--version").out == f"scmrl, version {__version__}\n"


@pytest.mark.parametrize("closed", ["stderr", "stdout"])
def test_a_closed_stream_is_no_error(monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    monkeypatch.setattr(sys, closed, None)
    with pytest.raises(SystemExit) as ended:
        main(["plugins"])
    assert ended.value.code == 0


def test_what_other_libraries_warn_of_does_not_reach_the_user(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    logging.getLogger("torch.utils.cpp_extension").warning("No CUDA runtime is found")
    assert caplog.records == []


def test_a_table_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("[/title]", [("[/red]", "\x1b[2J"), ("[bold]x", "two\nlines")])
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[/title]", "[/red]", r"\x1b[2J", "[bold]x", "two", "lines"))
    assert "\x1b" not in shown

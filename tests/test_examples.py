"""Every configuration in examples/ builds and computes, alone and on top of the small one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_runs import fork_script

from scmrl_plugins.bench.accuracy.cells import cells
from scmrl_plugins.bench.accuracy.grid import read_grid
from scmrl_plugins.core.config.layers import compose, read_run
from scmrl_plugins.core.measure import operations
from scmrl_plugins.core.model.assembly import assemble
from scmrl_plugins.sweep.sweep import read_sweep

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
OTHER = {"pyproject.toml", "compare_fusions.toml", "sweep.toml"}  # of the package, a grid, a sweep
CONFIGURATIONS = sorted(path for path in EXAMPLES.rglob("*.toml") if path.name not in OTHER)
SWAPS = [
    path for path in CONFIGURATIONS if path.parent.name in ("neuron", "encoder", "backbone", "fusion", "loss")
]


def name(path: Path) -> str:
    return str(path.relative_to(EXAMPLES))


def forward(files: list[Path]) -> float:
    parts = assemble(compose(files))
    inputs = operations.random_inputs(parts.model, torch.device("cpu"), batch=2)
    loss, _ = parts.loss(parts.model(**inputs), torch.tensor([0, 1]))
    return float(loss.detach())


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=name(path), marks=[pytest.mark.slow] if path.parent.name == "published" else [])
        for path in CONFIGURATIONS
    ],
)
def test_builds_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_COMPILE", "never")  # for one step of a large model the compiler takes a minute
    assert torch.isfinite(torch.tensor(forward([path])))


@pytest.mark.parametrize("path", SWAPS, ids=name)
def test_composes_with_the_small_one(path: Path) -> None:
    small = EXAMPLES / "small_cpu.toml"
    assert torch.isfinite(torch.tensor(forward([small, path])))
    assert compose([small, path]) != compose([small])


def test_every_configuration_is_in_the_readme() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in CONFIGURATIONS:
        listed = name(path) in text or f"{path.parent.name}/*.toml" in text or path.stem == "recipe"
        assert listed, f"{path} is not in examples/README.md"


def test_published_recipes_are_the_published_ones() -> None:
    crema = compose([EXAMPLES / "published" / "crema_d.toml"])
    assert (crema.model.steps, crema.model.embed_dims, crema.model.image_size) == (4, 256, 128)
    assert [loss.options.get("temperature") for loss in crema.loss] == [None, 0.07]
    sound = compose([EXAMPLES / "published" / "urbansound8k_av.toml"])
    assert (sound.model.embed_dims, sound.loss[1].options["temperature"]) == (64, 0.08)
    events = compose([EXAMPLES / "published" / "mnistdvs_ntidigits.toml"])
    assert (events.model.steps, events.backbone.options["splitting"]) == (16, "shallow")
    for config in (crema, sound, events):
        assert (config.train.epochs, config.train.batch_size, config.train.lr) == (100, 128, 6.25e-4)
        assert config.fusion.options["temporal_order"] == "published"


@pytest.mark.parametrize("name", ["crema_d", "urbansound8k_av", "mnistdvs_ntidigits"])
def test_published_recipes_resolve_as_in_version_0_1_0(name: str) -> None:
    """To the configuration of a run that was made with the recipe before any default changed."""
    before = read_run(ROOT / "tests" / "golden" / "configs" / f"published_{name}.toml")
    recipe = compose([EXAMPLES / "published" / f"{name}.toml"])
    assert assemble(recipe).config.model_dump() == assemble(before).config.model_dump()


def test_the_comparison_can_be_assembled() -> None:
    grid = read_grid(EXAMPLES / "compare_fusions.toml")
    assert len([assemble(cell.config) for cell in cells(grid).values()]) == 3 * len(grid.rows)


@pytest.mark.slow
def test_the_sweep_can_be_assembled() -> None:
    trials = read_sweep(EXAMPLES / "sweep.toml").trials()
    assert len([assemble(trial.config) for trial in trials]) == 12


@pytest.mark.slow
def test_the_script_trains_its_own_fusion(small_cache: Path, tmp_path: Path) -> None:
    given = (EXAMPLES / "fusion_in_a_script.py", "--images", "100", "--epochs", "1", "-o", "run")
    done = fork_script(*given, cwd=tmp_path, SCMRL_CACHE=str(small_cache))
    assert done.code == 0, done.err
    assert "test accuracy" in done.out
    assert 'name = "coincidence"' in (tmp_path / "run" / "config.toml").read_text()

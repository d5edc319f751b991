"""Layers that die while a model trains: said once, with a remedy, or the training stops."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from scmrl_plugins.core.measure.firing import unhealthy
from scmrl_plugins.core.measure.health import Health
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
MODEL: Any = SimpleNamespace(neuron_type=SimpleNamespace(tags=frozenset()))


def checked(health: Health, *epochs: dict[str, float]) -> None:
    for number, rates in enumerate(epochs, 1):
        health.check(number, number, MODEL, rates)


def watching(on_dead: str) -> tuple[Health, io.StringIO]:
    shown = io.StringIO()
    split: Any = []
    return Health(on_dead, split, None, Progress(Console(file=shown, width=1000))), shown


def test_a_layer_is_named_once_with_a_remedy() -> None:
    health, shown = watching("warn")
    checked(
        health,
        {"a": 0.5, "fusion.b": 0.0005, "c": 0.2},
        {"a": 0.5, "fusion.b": 0.0, "c": 0.97},
        {"a": 0.5, "fusion.b": 0.1, "c": 0.97},
        {"a": 0.5, "fusion.b": 0.0, "c": 0.2},
    )
    lines = shown.getvalue().splitlines()
    assert [line.partition(";")[0] for line in lines] == [
        "warning: epoch 1: a neuron layer is dead (fire below 0.1%): fusion.b",
        "warning: epoch 2: a neuron layer is saturated (fire above 95%): c",
        "warning: epoch 4: a neuron layer is dead (fire below 0.1%): fusion.b",
    ]
    assert "neuron.threshold" in lines[0]
    assert "raise neuron.threshold" in lines[1]


def test_layers_with_one_remedy_share_a_line() -> None:
    health, shown = watching("warn")
    checked(health, {"a": 0.0, "b": 0.0})
    assert shown.getvalue().startswith("warning: epoch 1: 2 neuron layers are dead (fire below 0.1%): a, b;")


def test_no_rate_is_too_high_for_analogue_neurons() -> None:
    rates = {"a": 0.99, "b": 0.0}
    assert [one.layer for one in unhealthy(rates)] == ["a", "b"]
    assert [one.layer for one in unhealthy(rates, {"analogue"})] == ["b"]


def test_training_stops_where_it_is_wanted(small: Small, tmp_path: Path) -> None:
    """After the epoch is saved, so that the run can be looked at."""
    parts = small(sets=["neuron.threshold=1000", "train.on_dead=stop", "train.epochs=2"])
    run = create_run(tmp_path / "run", parts)
    with pytest.raises(UserError, match=r"epoch 1: .* are dead .*lower neuron\.threshold.*train\.on_dead=warn"):
        Training(parts, torch.device("cpu"), Progress.silent(), with_contribution=False).fit(run)
    assert len(run.checkpoints()) == 1
    assert run.metrics()[-1]["firing_rates"].keys() >= {"backbones.audio.patches.stages.0.neuron"}

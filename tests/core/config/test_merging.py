"""Layers of settings merged: precedence, components that replace others, lists of losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from text_files import write

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model import assembly
from scmrl_plugins.registry import UserError

LOSSES = '[[loss]]\nname = "ce"\nlabel_smoothing = 0.2\n[[loss]]\nname = "sao"\ntemperature = 0.5\nweight = 2.0\n'


def test_later_layers_win(tmp_path: Path) -> None:
    first = write(tmp_path / "a.toml", "[train]\nseed = 1\nbatch_size = 1\nepochs = 1\nworkers = 1\n")
    second = write(tmp_path / "b.toml", "[train]\nseed = 2\nbatch_size = 2\nepochs = 2\n")
    config = layers.compose(
        [first, second],
        options={"train": {"seed": 3, "batch_size": 3}},
        sets=["train.seed=4", "train.seed=5"],
        layers=[Layer("below", {"train": {"workers": 9, "keep_checkpoints": 9}})],
    )
    train = config.train
    assert (train.seed, train.batch_size, train.epochs, train.workers) == (5, 3, 2, 1)
    assert train.keep_checkpoints == 9


def test_another_name_drops_the_options_of_the_component_it_replaces(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", '[fusion]\nname = "cmrl"\nalpha = 0.5\n[neuron]\ntau = 3.0\n')
    swapped = layers.compose([file], options={"fusion": {"name": "late"}})
    assert swapped.fusion.model_dump() == {"name": "late"}
    assert swapped.neuron.options == {"tau": 3.0}
    kept = layers.compose([file], options={"fusion": {"name": "cmrl"}}, sets=["fusion.align=false"])
    assert kept.fusion.options == {"alpha": 0.5, "align": False}
    again = layers.compose([file], options={"fusion": {"name": "late"}}, sets=["fusion.name=cmrl"])
    assert again.fusion.options == {}


def losses(config: ExperimentConfig) -> list[dict[str, Any]]:
    return [section.model_dump() for section in config.loss]


def test_options_of_a_loss_by_name_or_index(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", LOSSES)
    config = layers.compose([file], sets=["loss.sao.temperature=0.08", "loss.0.weight=3.0"])
    assert losses(config) == [
        {"name": "ce", "weight": 3.0, "label_smoothing": 0.2},
        {"name": "sao", "weight": 2.0, "temperature": 0.08},
    ]


def test_an_option_of_a_loss_that_is_not_listed_is_refused() -> None:
    """Adding it would drop the fusion's own losses without a word."""
    with pytest.raises(UserError, match=r"loss\.sao: no losses are listed; list them first, like --loss"):
        layers.compose(sets=["loss.sao.weight=0.5"])
    with pytest.raises(UserError, match=r"loss\.sao: the losses listed are ce"):
        layers.compose(options={"loss": [{"name": "ce"}]}, sets=["loss.sao.weight=0.5"])


def test_naming_losses_anew_keeps_the_options_of_those_there(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", LOSSES)
    config = layers.compose([file], options={"loss": [{"name": "sao"}]})
    assert losses(config) == [{"name": "sao", "weight": 2.0, "temperature": 0.5}]
    config = layers.compose([file], options={"loss": [{"name": "sao", "weight": 1.0}]})
    assert losses(config) == [{"name": "sao", "weight": 1.0}]


def test_editing_leaves_the_layers_as_they_were() -> None:
    data = {"loss": [{"name": "ce"}], "fusion": {"name": "late"}, "train": {"seed": 1}}
    layers.compose(layers=[Layer("a", data)], sets=["loss.ce.weight=3.0", "train.seed=2", "fusion.name=cmrl"])
    assert data == {"loss": [{"name": "ce"}], "fusion": {"name": "late"}, "train": {"seed": 1}}


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["loss.7.weight=1.0"], r"loss\.7: no losses are listed"),
        (["loss.ce=3"], r"loss\.ce: write loss\.NAME\.OPTION=VALUE"),
        (["loss=3"], "loss: "),
        (['loss=[{name="ce"}]', "loss.cee.weight=1.0"], "did you mean 'ce'"),
        (['loss=[{name="ce"}]', "loss.ce.weight=nan"], r"loss\.0\.weight"),
        (["loss." + "a." * 5000 + "b=1"], "loss"),
    ],
)
def test_losses_that_make_no_sense(sets: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        assembly.assemble(layers.compose(sets=sets))

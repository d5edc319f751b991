"""Base classes: their defaults, and classes that do not inherit them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import nn

from scmrl_plugins.core.interfaces import (
    Backbone,
    ComponentConfig,
    Dataset,
    Foldable,
    Fusion,
    Loss,
    Neuron,
    Readout,
)


class Settings(ComponentConfig):
    pass


class Plain(nn.Module):
    """A fusion that inherits torch.nn.Module alone and uses audio."""

    Config = Settings
    modalities = ("audio",)

    def __init__(self, scales: int = 1) -> None:
        super().__init__()
        if scales > 1:
            self.between = nn.ModuleList(nn.Linear(2, 2) for _ in range(scales - 1))


class Scaled(Fusion):
    """A fusion of three scales."""

    Config = Settings
    between: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.between = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))


def test_a_class_of_another_base_gets_the_defaults_that_it_does_not_set() -> None:
    assert Fusion.adapt(Plain) is Plain
    assert Plain.modalities == ("audio",)
    assert (Plain.joint, Plain.heads, Plain.default_losses) == (False, (), ("ce",))  # type: ignore[attr-defined]
    assert Plain.tags == frozenset()  # type: ignore[attr-defined]
    assert list(Plain().between) == []
    assert "adapt" not in vars(Plain)


def test_blocks_between_stages_are_submodules_as_before() -> None:
    Fusion.adapt(Plain)
    for fusion, blocks in ((Plain(scales=3), 2), (Scaled(), 2)):
        assert isinstance(fusion.between, nn.ModuleList)
        assert list(fusion.state_dict()) == [
            f"between.{i}.{name}" for i in range(blocks) for name in ("weight", "bias")
        ]
        for copied in (copy.deepcopy(fusion), pickle.loads(pickle.dumps(fusion))):
            assert type(copied) is type(fusion)
            assert torch.equal(copied.between[1].weight, fusion.between[1].weight)


def test_a_class_that_inherits_the_base_stays_as_it_is() -> None:
    before = dict(vars(Scaled))
    assert Fusion.adapt(Scaled) is Scaled
    assert dict(vars(Scaled)) == before


@pytest.mark.parametrize("component", [nn.Identity, Plain(), "Plain", None, lambda: None])
def test_what_is_not_a_component_is_refused(component: object) -> None:
    with pytest.raises(TypeError, match="is not a class with a Config"):
        Fusion.adapt(component)


def test_the_defaults_do_nothing() -> None:
    x = torch.ones(2, 3, 4, 5)
    assert Backbone().feed_forward(x) is x
    assert Backbone.widths == ()
    assert Neuron().pooled(x, nn.MaxPool2d(2), len(x)) is None
    assert Neuron().normalized(x, nn.BatchNorm1d(4), None, len(x)) is None
    flags = [Neuron.requires_fp, Neuron.requires_mem, Readout.further_heads, Loss.needs_firing_rates]
    assert not any(flags)
    with pytest.raises(NotImplementedError):
        Neuron().single_step(x)


def test_a_missing_modality_is_zero_by_default() -> None:
    class Sounds(Dataset):
        channels: ClassVar[Mapping[str, int]] = {"audio": 2, "visual": 3}

    blank = Sounds().blank
    assert {name: x.shape for name, x in blank.items()} == {"audio": (2, 1, 1), "visual": (3, 1, 1)}
    assert not any(x.any() for x in blank.values())


def test_foldable_is_a_class_with_fold_and_not_a_module_of_that_name() -> None:
    class Folds(nn.Module):
        def fold(self) -> bool:
            return True

    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fold = nn.Identity()

    assert issubclass(Folds, Foldable)
    assert not issubclass(Holds, Foldable)

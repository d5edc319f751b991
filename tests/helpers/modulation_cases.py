"""Modulations on small models in float64, and their gradients computed in another way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import TrainingStep
from scmrl_plugins.registry import catalogue
from scmrl_plugins.testing import Subject
from scmrl_plugins.testing.kinds.modulation import Rig

Named = dict[str, Tensor]


def subject(name: str, **options: Any) -> Subject:
    return Subject(catalogue().get("modulation", name), options)


def acting() -> list[str]:
    """The built-in modulations that do something."""
    return [name for name in catalogue().names("modulation") if catalogue().get("modulation", name).load().acts]


def rig(name: str, fusion: str = "late", readout: str = "add", **options: Any) -> Rig:
    """A model in float64 with a modulation; without label smoothing, the objective is the cross-entropy."""
    made = Rig(subject(name, **options), fusion, dtype=torch.float64, readout=readout)
    made.module["loss"].terms[0].label_smoothing = 0.0
    return made


def gradients(made: Rig, numbers: Sequence[int]) -> Named:
    """The gradients with which a step on the batches of these numbers updates the weights."""
    found: Named = {}

    def keep(*_: object) -> None:
        found.update({k: p.grad.clone() for k, p in made.module.named_parameters() if p.grad is not None})

    handle = made.optimizer.register_step_pre_hook(keep)
    kept = {name: tensor.clone() for name, tensor in made.module.state_dict().items()}
    assert not made.step([made.batch(number) for number in numbers], draw=(0, 1, 0)).not_finite
    handle.remove()
    made.module.load_state_dict(kept)
    return found


def derived(made: Rig, loss: Tensor) -> Named:
    """d loss / d p by name of the parameter, where it depends on it."""
    named = {name: p for name, p in made.module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


def outputs(made: Rig, number: int) -> tuple[Any, dict[str, Tensor], Tensor]:
    """A forward pass in training: the output, the features of a model without interaction, and the target."""
    batch = made.batch(number)
    target = batch.pop("label")
    fused = made.model.fused(made.model.tokens(made.model.encode(**batch)))
    features = {"audio": fused.audio.mean((0, 3)), "visual": fused.visual.mean((0, 3))}  # type: ignore[union-attr]
    return made.model.read(fused), features, target


def of(modality: str, name: str) -> bool:
    """Whether a parameter is of the encoder or the backbone of a modality."""
    return name.startswith((f"model.backbones.{modality}.", f"model.encoders.{modality}."))


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """To 1e-9, with a gradient that is not there taken for 0."""
    assert found
    for name in found.keys() | expected.keys():
        one, other = (given.get(name) for given in (found, expected))
        assert one is not None or not other.any(), name  # type: ignore[union-attr]
        if one is not None:
            torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, rtol=0, atol=1e-9)
    assert any(bool(g.any()) for g in found.values())


def step_with(**scores: float) -> TrainingStep:
    """A step in which ``audio`` and ``visual`` got these scores."""
    step = TrainingStep(generator=torch.Generator().manual_seed(0))
    for name, score in scores.items():
        step.add(f"score {name}", torch.tensor(score))
    return step


def like(value: float, *shapes: Sequence[int]) -> Callable[[], dict[str, Any]]:
    """Gradients of one value for both modalities and the rest."""
    return lambda: {
        part: {str(i): torch.full(tuple(shape), value, dtype=torch.float64) for i, shape in enumerate(shapes)}
        for part in ("audio", "visual", "rest")
    }

"""What inference can do without, folded into what it needs, and how many spikes that moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Foldable
from scmrl_plugins.core.model.audio_visual import AudioVisualModel


@dataclass(frozen=True)
class Optimized:
    """What ``optimize`` did, and of how many spikes of a batch how many are others since."""

    folded: int
    moved_spikes: int
    spikes: int

    def __str__(self) -> str:
        share = 100 * self.moved_spikes / max(1, self.spikes)
        moved = f"{self.moved_spikes:,} of {self.spikes:,} spikes of the first batch moved ({share:.3g} %)"
        return f"batch norm folded into {self.folded} convolutions; {moved}"


Spikes = Mapping[str, list[Tensor]]


class Moved(NamedTuple):
    """Of ``spikes`` outputs of a neuron layer ``moved`` are others than before."""

    moved: int
    spikes: int


def optimize(model: nn.Module) -> int:
    """Put a model into evaluation mode, call ``fold()`` wherever there is one, and count those that folded.

    It computes the same up to rounding, in place; no longer fit for training, its weights fit no run.
    """
    model.eval()
    # By the class: a submodule called fold is not a method.
    foldable: list[Any] = [module for module in model.modules() if issubclass(type(module), Foldable)]
    return sum(bool(module.fold()) for module in foldable)


def optimize_measured(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> Optimized:
    """``optimize``, and how many spikes of one batch it moves: rounding decides where the membrane is at a tie."""
    before = record_spikes(model, inputs)
    folded = optimize(model)
    layers = moved_spikes(before, record_spikes(model, inputs)).values()
    return Optimized(folded, sum(layer.moved for layer in layers), sum(layer.spikes for layer in layers))


@torch.no_grad()
def record_spikes(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> Spikes:
    """What every neuron layer puts out on a batch in evaluation mode, in whole spikes, one tensor a call.

    Noise and random spikes are the same each time, and the generators are left as they were.
    """
    found: dict[str, list[Tensor]] = {}

    def keep(name: str, spikes: Tensor) -> None:
        found[name].append(spikes.round().to(torch.int16))

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, model.neuron_type)]
    handles = []
    for name, module in layers:
        found[name] = []
        handles.append(module.register_forward_hook(lambda _module, _args, out, name=name: keep(name, out)))
    training = model.training
    try:
        with torch.random.fork_rng([x.device.index for x in inputs.values() if x.is_cuda]):
            torch.manual_seed(0)
            model.eval()(**inputs)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found


def moved_spikes(before: Spikes, after: Spikes) -> dict[str, Moved]:
    """By the name of the neuron layer, how many spikes differ between two recordings of one batch."""
    return {
        name: Moved(
            sum(int((a != b).sum()) for a, b in zip(calls, after[name], strict=True)),
            sum(call.numel() for call in calls),
        )
        for name, calls in before.items()
    }

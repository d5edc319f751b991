"""The spikes of a model on one batch, recorded, and how many of them folding moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.model.folding import optimize

Spikes = Mapping[str, list[Tensor]]
"""By neuron layer, one tensor per call."""


class Moved(NamedTuple):
    """How many of a layer's ``spikes`` outputs changed."""

    moved: int
    spikes: int


@dataclass(frozen=True)
class Optimized:
    """How many convolutions ``optimize`` folded, and how many of a batch's spikes changed."""

    folded: int
    moved_spikes: int
    spikes: int

    def __str__(self) -> str:
        share = 100 * self.moved_spikes / max(1, self.spikes)
        moved = f"{self.moved_spikes:,} of {self.spikes:,} spikes of the first batch moved ({share:.3g} %)"
        return f"batch norm folded into {self.folded} convolutions; {moved}"


def optimize_measured(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> Optimized:
    """Call ``optimize`` and count the spikes of one batch that it moves.

    Spikes move where a membrane potential is so close to the threshold that rounding decides.
    """
    before = record_spikes(model, inputs)
    folded = optimize(model)
    layers = moved_spikes(before, record_spikes(model, inputs)).values()
    return Optimized(folded, sum(layer.moved for layer in layers), sum(layer.spikes for layer in layers))


@torch.no_grad()
def record_spikes(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> Spikes:
    """The output of every neuron layer on a batch in evaluation mode, rounded to integers.

    Random numbers are the same in every call, and the generators keep their state.
    """
    recorded: dict[str, list[Tensor]] = {}

    def keep(name: str, spikes: Tensor) -> None:
        recorded[name].append(spikes.round().to(torch.int16))

    layers: list[tuple[str, nn.Module]] = [
        (name, module) for name, module in model.named_modules() if isinstance(module, model.neuron_type)
    ]
    handles = []
    for name, module in layers:
        recorded[name] = []
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
    return recorded


def moved_spikes(before: Spikes, after: Spikes) -> dict[str, Moved]:
    """How many spikes differ between two recordings of one batch, by neuron layer."""
    return {
        name: Moved(
            sum(int((a != b).sum()) for a, b in zip(calls, after[name], strict=True)),
            sum(call.numel() for call in calls),
        )
        for name, calls in before.items()
    }

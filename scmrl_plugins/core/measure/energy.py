"""Estimate of the energy of one inference from its operations on spikes and analogue values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.system.private import TorchDispatchMode

MULTIPLY_ACCUMULATE = 4.6e-12
ACCUMULATE = 0.9e-12
"""Joules of a 32-bit floating multiply-accumulate and of an accumulate in 45 nm; Horowitz, ISSCC 2014."""


@dataclass(frozen=True)
class Energy:
    """Operations of one sample: ``multiply_accumulates`` on analogue inputs, ``accumulates`` on spikes."""

    multiply_accumulates: float
    accumulates: float

    @property
    def joules(self) -> float:
        """E = 4.6 pJ MAC + 0.9 pJ AC, a common estimate: arithmetic only, without memory access or neurons."""
        return MULTIPLY_ACCUMULATE * self.multiply_accumulates + ACCUMULATE * self.accumulates


@torch.no_grad()
def estimate(model: AudioVisualModel, batches: Iterable[Mapping[str, Tensor]]) -> Energy:
    """Operations of one sample: the mean over all samples of the batches, in evaluation mode.

    A convolution or matrix product counts as spiking if its first operand contains only integers: a value k costs
    |k| accumulates, so zeros are free. All other operations are multiply-accumulates.
    """
    training = model.training
    counter, samples = _Counter(), 0
    try:
        model.eval()
        for inputs in batches:
            with counter:
                model(**inputs)
            samples += next(iter(inputs.values())).shape[0]
    finally:
        model.train(training)
    return Energy(counter.analogue / max(1, samples), counter.spiking / max(1, samples))


class _Counter(TorchDispatchMode):
    """Counts operations as they are dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.analogue = 0.0
        self.spiking = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            operations = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out) / 2
            # The first argument of addmm and baddbmm is the addend.
            x: Tensor = args[1] if "add" in func.overloadpacket.__name__ else args[0]
            magnitude = x.detach().abs()
            if bool((magnitude == magnitude.round()).all()):
                self.spiking += operations * float(magnitude.double().mean())
            else:
                self.analogue += operations
        return out

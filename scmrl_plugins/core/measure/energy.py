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
    layers = by_layer(model, batches).values()
    return Energy(sum(one.multiply_accumulates for one in layers), sum(one.accumulates for one in layers))


@torch.no_grad()
def by_layer(model: AudioVisualModel, batches: Iterable[Mapping[str, Tensor]]) -> dict[str, Energy]:
    """``estimate`` by the innermost module that an operation belongs to, in the order of the calls.

    Modules without such operations are left out.
    """
    training = model.training
    counter, samples = _Counter(), 0
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _module, _args, name=name: counter.enter(name)))
        handles.append(
            module.register_forward_hook(lambda _module, _args, _out: counter.leave(), always_call=True)
        )
    try:
        model.eval()
        for inputs in batches:
            with counter:
                model(**inputs)
            samples += next(iter(inputs.values())).shape[0]
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return {
        name: Energy(analogue / samples, spiking / samples) for name, (analogue, spiking) in counter.found.items()
    }


class _Counter(TorchDispatchMode):
    """Counts operations as they are dispatched, by the module that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[float]] = {}
        """Multiply-accumulates on analogue values, and accumulates of spikes, by module."""
        self._calls: list[str] = []

    def enter(self, name: str) -> None:
        """A module is called."""
        self._calls.append(name)

    def leave(self) -> None:
        """The call ends."""
        self._calls.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            operations = flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out) / 2
            # The first argument of addmm and baddbmm is the addend.
            x: Tensor = args[1] if "add" in func.overloadpacket.__name__ else args[0]
            magnitude = x.detach().abs()
            counts = self.found.setdefault(self._calls[-1] if self._calls else "", [0.0, 0.0])
            if bool((magnitude == magnitude.round()).all()):
                counts[1] += operations * float(magnitude.double().mean())
            else:
                counts[0] += operations
        return out

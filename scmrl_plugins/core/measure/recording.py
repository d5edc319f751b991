"""Spikes, membranes and attention of a model on one batch, recorded, and how many spikes folding moves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import Attends
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


class Recording(NamedTuple):
    """What the layers of a model did on a batch, by the name of the layer, in the order of the calls.

    A layer that is called several times has its later calls as ``NAME#2``, ``NAME#3``.
    """

    spikes: dict[str, Tensor]
    """The output of every neuron layer, ``[T, B, *]``."""
    membranes: dict[str, Tensor]
    """The membrane potential after each step's reset, ``[T, B, *]``, of the neurons that have one."""
    attention: dict[str, Tensor]
    """How much each key counts for each query: ``[T, B, heads, N, M]`` over tokens, ``[T, B, heads, N, T']`` over
    time steps T', as ``core.interfaces.Attends`` says. Empty for a fusion without attention."""


def record(model: AudioVisualModel, audio: Tensor | None = None, visual: Tensor | None = None) -> Recording:
    """Spikes, membranes and attention of a model on one batch, in evaluation mode, as copies without a gradient.

    ``audio`` and ``visual`` as in ``model(audio, visual)``, which raises ``UserError`` if they do not fit. Random
    numbers are the same in every call. Model and generators are as before afterwards, without hooks.
    """
    recording = Recording({}, {}, {})

    def keep(kind: dict[str, Tensor], name: str, value: Tensor) -> None:
        calls = sum(key.partition("#")[0] == name for key in kind)
        kind[f"{name}#{calls + 1}" if calls else name] = value.detach().clone()

    def neuron(name: str, layer: Any, spikes: Tensor) -> None:
        keep(recording.spikes, name, spikes)
        if len(layer.mem_collect):
            keep(recording.membranes, name, torch.stack(list(layer.mem_collect)))

    def attention(name: str, layer: Any, _out: object) -> None:
        if layer.attention_weights is not None:
            keep(recording.attention, name, layer.attention_weights)

    attending: list[Any] = [module for module in model.modules() if isinstance(module, Attends)]
    neurons: list[Any] = [module for module in model.modules() if isinstance(module, model.neuron_type)]
    kept = [layer.requires_mem for layer in neurons]
    try:
        for layer in neurons:
            layer.requires_mem = True
        for layer in attending:
            layer.requires_attention = True
        with _hooks(model, model.neuron_type, neuron), _hooks(model, Attends, attention):
            _run(model, {"audio": audio, "visual": visual})
    finally:
        for layer, before in zip(neurons, kept, strict=True):
            layer.requires_mem, layer.mem_collect = before, []
        for layer in attending:
            layer.requires_attention, layer.attention_weights = False, None
    return recording


def record_spikes(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> Spikes:
    """The output of every neuron layer on a batch in evaluation mode, rounded to integers.

    Random numbers are the same in every call, and the generators keep their state.
    """
    layers = [name for name, module in model.named_modules() if isinstance(module, model.neuron_type)]
    recorded: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, _layer: object, spikes: Tensor) -> None:
        recorded[name].append(spikes.round().to(torch.int16))

    with _hooks(model, model.neuron_type, keep):
        _run(model, inputs)
    return recorded


@contextlib.contextmanager
def _hooks(model: nn.Module, kind: Any, called: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """``called(name, module, output)`` after each call of a module of this kind."""

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, _args, out: called(name, module, out)

    found = [(name, module) for name, module in model.named_modules() if isinstance(module, kind)]
    handles = [module.register_forward_hook(hook(name)) for name, module in found]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _run(model: AudioVisualModel, inputs: Mapping[str, Tensor | None]) -> None:
    """The model in evaluation mode, with the same random numbers in every call; mode and generators are kept."""
    training = [(module, module.training) for module in model.modules()]
    devices = [x.device.index for x in inputs.values() if x is not None and x.is_cuda]
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            model.eval()(**inputs)
    finally:
        for module, mode in training:
            module.training = mode


def moved_spikes(before: Spikes, after: Spikes) -> dict[str, Moved]:
    """How many spikes differ between two recordings of one batch, by neuron layer."""
    return {
        name: Moved(
            sum(int((a != b).sum()) for a, b in zip(calls, after[name], strict=True)),
            sum(call.numel() for call in calls),
        )
        for name, calls in before.items()
    }

"""One sample inside the network: what its layers do, and where they look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scmrl_plugins.core.evaluation.steps import logits_by_step
from scmrl_plugins.core.interfaces import MODALITIES, Attends, Fused
from scmrl_plugins.core.measure import record
from scmrl_plugins.core.measure.saliency import grad_cam
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.system import seeds

LAYERS, NEURONS, TRACES = 6, 48, 3
"""Layers whose spikes are drawn, and neurons of each; neurons whose membranes are drawn."""


@dataclass
class Example:
    """One sample: its inputs, the prediction, and what happened inside."""

    name: str
    label: int | None
    """Its class; none for a file of the user's."""
    inputs: dict[str, np.ndarray]
    """By modality ``[C, H, W]`` or ``[T, C, H, W]``."""
    probabilities: np.ndarray
    by_step: np.ndarray | None = None
    """Probabilities after each time step, ``[T, K]``."""
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    """By layer ``[T, neurons]``: some layers, and neurons from the most to the least active of each."""
    membranes: dict[str, np.ndarray] = field(default_factory=dict)
    """By layer ``[T, neurons]``: the neurons whose potential varies most."""
    fired: dict[str, np.ndarray] = field(default_factory=dict)
    """The spikes of these neurons."""
    attention: dict[str, np.ndarray] = field(default_factory=dict)
    """By modality ``[N]``: what the layers with attention over its tokens weigh them with, scaled to 1."""
    over_time: dict[str, np.ndarray] = field(default_factory=dict)
    """By layer ``[T, T']`` or ``[1, T']``: attention over time steps."""
    cams: dict[str, np.ndarray] = field(default_factory=dict)
    """By modality ``[N]``: Grad-CAM of the predicted class."""

    @property
    def predicted(self) -> int:
        return int(self.probabilities.argmax())


def examine(model: AudioVisualModel, inputs: Mapping[str, Tensor], label: int | None, name: str) -> Example:
    """One sample, ``[1, ...]`` for each modality, through a model in evaluation mode."""
    device = next(iter(inputs.values())).device
    with torch.no_grad(), seeds.generators_kept(device):
        torch.manual_seed(0)
        output = model(**inputs)
    probabilities = output.logits[0].float().softmax(0)
    steps = logits_by_step(output)
    example = Example(
        name,
        label,
        {modality: x[0].float().cpu().numpy() for modality, x in inputs.items()},
        probabilities.cpu().numpy(),
        None if steps is None else steps[:, 0].softmax(1).cpu().numpy(),
    )
    given: dict[str, Any] = {modality: inputs.get(modality) for modality in MODALITIES}
    recording = record(model, **given)
    _add_neurons(example, recording.spikes, recording.membranes)
    _add_attention(example, model, recording.attention, inputs)
    with seeds.generators_kept(device):
        torch.manual_seed(0)
        cams = grad_cam(model, given["audio"], given["visual"], output.logits.argmax(1))
    example.cams = {modality: cam[0].float().cpu().numpy() for modality, cam in cams.items()}
    return example


def _add_neurons(example: Example, spikes: Mapping[str, Tensor], membranes: Mapping[str, Tensor]) -> None:
    """Spikes of neurons from the most to the least active, and membranes of those that vary most."""
    names = list(spikes)
    count = min(LAYERS, len(names))
    for name in (names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)):
        fired = spikes[name][:, 0].flatten(1).float()
        ranked = fired.abs().sum(0).argsort(descending=True, stable=True)
        active = ranked[: max(int(fired.any(0).sum()), min(NEURONS, len(ranked)))]
        example.spikes[name] = fired[:, active[:: -(-len(active) // NEURONS)]].cpu().numpy()
        if name in membranes:
            potential = membranes[name][:, 0].flatten(1).float()
            varying = potential.var(0, unbiased=False).argsort(descending=True, stable=True)[:TRACES]
            example.membranes[name] = potential[:, varying].cpu().numpy()
            example.fired[name] = fired[:, varying].cpu().numpy()


def _add_attention(
    example: Example, model: AudioVisualModel, attention: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
) -> None:
    """Attention of all layers: over tokens by the modality that they are of, over time steps by layer."""
    modules = dict(model.named_modules())
    owners = attended_modalities(model, inputs)
    maps: dict[str, list[Tensor]] = {}
    for name, weights in attention.items():
        layer: Any = modules[name.partition("#")[0]]
        if layer.attends_over == "steps":
            example.over_time[name] = weights[:, 0].float().mean((1, 2)).cpu().numpy()
        elif modality := owners.get(name.partition("#")[0]):
            maps.setdefault(modality, []).append(weights[:, 0].float().abs().mean((0, 1, 2)))
    for modality, found in maps.items():
        tokens = len(found[-1])  # of layers with as many tokens as the last one
        total = sum((_scaled(x) for x in found if len(x) == tokens), torch.zeros(tokens, device=found[-1].device))
        example.attention[modality] = _scaled(total).cpu().numpy()


def _scaled(x: Tensor) -> Tensor:
    """x / max x, or 0."""
    return x / x.max().clamp_min(torch.finfo(x.dtype).tiny)


@torch.no_grad()
def attended_modalities(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> dict[str, str]:
    """The modality of the keys of each layer with attention, where it can be told.

    Keys are the last argument of the layer's call. In a backbone they are of its modality; in the fusion, of the
    stream that they are, or have the memory of.
    """
    found: dict[str, str] = {}
    streams: dict[int, str] = {}

    def keys(name: str, arguments: tuple[Any, ...]) -> None:
        tensors = [x for x in arguments if isinstance(x, Tensor)]
        owner: str | None = next((m for m in MODALITIES if name.startswith(f"backbones.{m}.")), None)
        owner = owner or (streams.get(tensors[-1].data_ptr()) if tensors else None)
        if owner:
            found[name] = owner

    def fuse(block: nn.Module, audio: Tensor | None, visual: Tensor | None) -> Fused:
        given = {"audio": audio, "visual": visual}
        streams.update({x.data_ptr(): name for name, x in given.items() if x is not None})
        fused: Fused = block(audio, visual)
        return fused

    def hook(name: str) -> Any:
        return lambda _module, arguments: keys(name, arguments)

    layers: list[tuple[str, nn.Module]] = list(model.named_modules())
    handles = [m.register_forward_pre_hook(hook(n)) for n, m in layers if isinstance(m, Attends)]
    try:
        model.predict(model.tokens(model.encode(**inputs), fuse), fuse)
    finally:
        for handle in handles:
            handle.remove()
    return found


@torch.no_grad()
def representations(model: AudioVisualModel, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """By modality ``[B, D]``, means over steps and tokens, and whether they are what a loss aligns.

    The fusion's residuals where it has them, otherwise its streams; of a joint stream the streams before it.
    """
    found: list[dict[str, Tensor]] = []
    aligned = False

    def fuse(block: nn.Module, audio: Tensor | None, visual: Tensor | None) -> Fused:
        nonlocal aligned
        fused: Fused = block(audio, visual)
        aligned = bool(fused.residuals)
        streams = {"audio": fused.audio, "visual": fused.visual}
        before = {"audio": audio, "visual": visual}
        source: Mapping[str, Tensor | None] = fused.residuals or (streams if fused.joint is None else before)
        found.append({name: x.mean((0, 3)) for name, x in source.items() if x is not None})
        return fused

    model.predict(model.tokens(model.encode(**inputs), fuse), fuse)
    return found[-1], aligned


def grid(tokens: np.ndarray) -> np.ndarray | None:
    """A map over N tokens as a square ``[side, side]``; none where N is no square."""
    side = math.isqrt(len(tokens))
    return tokens.reshape(side, side) if side * side == len(tokens) else None

"""What a modality says alone: the prediction of a model of two modalities from one of them.

By one of two methods, which is given beside the figures:

- ``split``: the read-out's share of the modality, ``Readout.split``, for the stream of the complete input. This
  takes a read-out that has a split, and streams in which nothing of the other modality is: those of a fusion in
  which nothing crosses, or those without the fusion, for a read-out that reads them
- ``blank``: the prediction with silence or black for the other modality, which takes two fusions more
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import MODALITIES, OTHER, Fused, Modality, ModelOutput
from scmrl_plugins.core.model.audio_visual import AudioVisualModel

Blank = Mapping[Any, Any]
"""Silence and black by modality, ``[C, 1, 1]``, as arrays or tensors, such as ``Dataset.blank``."""

METHODS: Mapping[str, str] = {
    "split": "the read-out's share of the modality",
    "blank": "the prediction with silence or black for the other modality",
}
"""The methods, and what each takes for what a modality says alone."""


def method(model: AudioVisualModel) -> str:
    """``split`` or ``blank``, or empty for a model of one modality."""
    if len(model.modalities) < 2:
        return ""
    readout: Any = model.readout
    weight = next(model.parameters())
    features: Any = {name: weight.new_zeros(1, model.config.model.embed_dims) for name in model.modalities}
    crosses = bool(list(model.fusion.between)) or not readout.reads_unimodal
    with torch.no_grad():
        return "blank" if (model.fusion.interacts and crosses) or not readout.split(features) else "split"


def own_streams(model: AudioVisualModel, fused: Fused) -> dict[Modality, Tensor]:
    """The streams of the modalities that a model with a split reads, ``[T, B, D, N]``."""
    fusing = {"audio": fused.audio, "visual": fused.visual}
    streams = {name: fused.unimodal.get(name, fusing[name]) for name in MODALITIES}
    return {name: stream for name, stream in streams.items() if stream is not None}


def means(streams: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
    """The mean over time steps and tokens: ``[T, B, D, N] -> [B, D]``."""
    return {name: stream.mean((0, 3)) for name, stream in streams.items()}


class _Reader:
    """``read(module, arguments)`` for each call of a module, if there is one, within the ``with`` block."""

    def __init__(self, module: nn.Module | None, read: Callable[[Any, tuple[Any, ...]], None]) -> None:
        self._module, self._read = module, read

    def __enter__(self) -> Self:
        module = self._module
        self._handle = None if module is None else module.register_forward_pre_hook(self._read)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle:
            self._handle.remove()


class Split(_Reader):
    """The ``logits [B, K]`` by modality of the last batch that the model predicts within the ``with`` block.

    They take no forward pass more. Empty for a model without a split.
    """

    def __init__(self, model: AudioVisualModel) -> None:
        self.model, self.applies = model, method(model) == "split"
        self.logits: Mapping[Modality, Tensor] = {}
        super().__init__(model.readout if self.applies else None, self._split)

    def __call__(self, _inputs: Mapping[str, Tensor]) -> Mapping[Modality, Tensor]:
        return self.logits

    def _split(self, readout: Any, arguments: tuple[Any, ...]) -> None:
        self.logits = readout.split(means(own_streams(self.model, arguments[0])))


class Blanked(_Reader):
    """``blanked(inputs)``: the ``logits [B, K]`` by modality with silence or black for the other one.

    ``inputs`` are those of the last batch that the model predicted within the ``with`` block. Its tokens are used
    again, and those of silence and black are computed once for every shape of the inputs, unless the tokens of a
    modality depend on more than its input: on the other modality, or on random numbers.
    """

    def __init__(self, model: AudioVisualModel, blank: Blank) -> None:
        self.model, self.blank = model, blank
        parts: list[Any] = [*model.encoders.values(), *model.backbones.values(), model.neuron_type]
        drawn = any("stochastic" in part.tags for part in parts)
        self.reuses = len(model.modalities) > 1 and not drawn and not list(model.fusion.between)
        self._tokens: Mapping[str, Tensor] = {}
        self._missing: dict[tuple[torch.Size, ...], Mapping[str, Tensor]] = {}
        super().__init__(model.fusion if self.reuses else None, self._keep)

    def _keep(self, _fusion: Any, arguments: tuple[Any, ...]) -> None:
        self._tokens = dict(zip(MODALITIES, arguments, strict=True))

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[Modality, Tensor]:
        if not self.reuses:
            return _alone(self.model, inputs, self.blank)
        tokens, missing = self._tokens, self._tokens_of_blanks(inputs)
        given = {name: {**missing, name: tokens[name]} for name in MODALITIES}
        return {name: self.model.predict(both).logits for name, both in given.items()}

    def _tokens_of_blanks(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        shapes = tuple(inputs[name].shape for name in MODALITIES)
        if shapes not in self._missing:
            encoded = self.model.encode(**_replaced(inputs, self.blank, *MODALITIES))
            self._missing[shapes] = self.model.tokens(encoded)
        return self._missing[shapes]


def without(model: AudioVisualModel, inputs: Mapping[str, Tensor], blank: Blank, *missing: Any) -> ModelOutput:
    """The output for silence or black, ``blank[modality] [C, 1, 1]``, as the input of each missing modality."""
    output: ModelOutput = model(**_replaced(inputs, blank, *missing))
    return output


def _replaced(inputs: Mapping[str, Tensor], blank: Blank, *missing: Any) -> dict[str, Tensor]:
    replaced = {}
    for name in missing:
        x = inputs[name]
        replaced[name] = torch.as_tensor(blank[name], dtype=x.dtype, device=x.device).expand_as(x)
    return {**inputs, **replaced}


def _alone(model: AudioVisualModel, inputs: Mapping[str, Tensor], blank: Blank) -> dict[Modality, Tensor]:
    return {name: without(model, inputs, blank, OTHER[name]).logits for name in MODALITIES}


@torch.no_grad()
def alone(
    model: AudioVisualModel, inputs: Mapping[str, Tensor], blank: Blank
) -> tuple[dict[Modality, Tensor], str]:
    """The logits of each modality alone, ``[B, K]``, and the method; none for a model of one modality."""
    chosen = method(model)
    if chosen == "split":
        with Split(model) as split:
            model(**inputs)
        return dict(split.logits), chosen
    if not chosen:
        return {}, chosen
    return _alone(model, inputs, blank), chosen

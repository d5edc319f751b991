"""What components are built with, and what they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from scmrl_plugins.core.interfaces.settings import MODALITIES, Modality

if TYPE_CHECKING:
    from scmrl_plugins.core.interfaces.components import Neuron


class NeuronFactory(Protocol):
    """Builds one layer of the configured neuron; keywords override its settings by name."""

    def __call__(self, **overrides: Any) -> Neuron: ...


@dataclass(frozen=True)
class Context:
    """What a component knows about the model that it is part of."""

    steps: int
    embed_dims: int
    num_heads: int
    image_size: int
    num_classes: int
    channels: Mapping[str, int]
    """Input channels of each modality, ``{"audio": 1, "visual": 3}``."""
    neuron: NeuronFactory
    modality: Modality | None = None
    """The modality of a backbone or an encoder; none for the other kinds."""
    modalities: tuple[Modality, ...] = MODALITIES
    """For the read-out: the modalities that the fusion block uses."""
    joint: bool = False
    """For the read-out: whether the fusion block returns a joint stream, from which the model then predicts."""
    heads: tuple[Modality, ...] = ()
    """For the read-out: the modalities whose streams have an auxiliary head."""
    widths: tuple[int, ...] = ()
    """For the fusion block: the channels after each stage of a hierarchical backbone, the last of them D."""


@dataclass
class Fused:
    """What a fusion block returns."""

    audio: Tensor | None
    """The audio stream after fusion, ``[T, B, D, Na]``; none if the block does not use audio."""
    visual: Tensor | None
    """The visual stream after fusion, ``[T, B, D, Nv]``; none if the block does not use vision."""
    residuals: dict[str, Tensor] = field(default_factory=dict)
    """By modality, ``[T, B, D, N]``: what a loss may align."""
    joint: Tensor | None = None
    """One stream of both modalities, ``[T, B, D, N]``, from which the read-out predicts instead of the two."""
    shares: dict[str, Tensor] = field(default_factory=dict)
    """By modality, ``[B]``: its share of the fused stream. The shares of a sample sum to 1."""
    unimodal: dict[str, Tensor] = field(default_factory=dict)
    """By modality, ``[T, B, D, N]``: the stream as it is without the fusion; set by the model for a read-out with
    ``reads_unimodal``."""

    def streams(self) -> list[Tensor]:
        """The streams of the modalities in use, audio first."""
        return [stream for stream in (self.audio, self.visual) if stream is not None]


@dataclass
class ModelOutput:
    """What a read-out and the model return: the prediction, and what a loss may use."""

    logits: Tensor
    """The prediction, ``[B, K]``."""
    aux_logits: dict[str, Tensor] = field(default_factory=dict)
    """The logits of each auxiliary head by name, ``[B, K]``."""
    aligned: dict[str, Tensor] | None = None
    """``{"audio": [T, B, D], "visual": [T, B, D]}``, the residuals averaged over tokens, if the fusion has any."""
    step_logits: Tensor | None = None
    """The prediction of each time step, ``[T, B, K]``; their mean over time is ``logits``."""
    shares: dict[str, Tensor] = field(default_factory=dict)
    """As in ``Fused``."""
    firing_rates: Tensor | None = None
    """Spikes per neuron and time step in each of L neuron layers, ``[L]``; set by the model for a loss with
    ``needs_firing_rates``."""

"""The interface of each kind of component. A plugin imports this module and ``scmrl_plugins.registry``, no others.

A component is a class with a ``Config``, a subclass of ``ComponentConfig``. It is a torch module, built as
``Component(config, context)``, unless it is a data set, built as ``Dataset(config, model)``. It inherits
the base class of its kind, which declares every optional ability with its default. A class that inherits
``torch.nn.Module`` alone works too and gets the same defaults.

Time is the first axis of every sequence, ``[T, B, ...]``, and no state survives a call.

Letters in shapes: T time steps, B samples, C channels, H x W pixels, D embedding dimension, N tokens
(Na audio, Nv visual), K classes.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from scmrl_plugins.registry.errors import UserError

if TYPE_CHECKING:
    import datasets

Modality = Literal["audio", "visual"]
MODALITIES: tuple[Modality, Modality] = ("audio", "visual")
SPLITS = ("train", "validation", "test")

TAGS: Mapping[str, str] = {
    "analogue": "neuron, encoder: the output has values other than 0 and 1",
    "stochastic": "draws from torch's random generator: two calls differ unless it is seeded",
    "memoryless": "neuron: each step depends on the input of that step only",
    "equal-tokens": "fusion: raises a UserError for modalities with different numbers of tokens",
    "no-compile": "torch.compile may change the result",
}
"""The tags and what they declare. A component sets ``tags = frozenset({"stochastic"})`` on its class, or on the
instance where its settings decide. The conformance checks of ``scmrl_plugins.testing`` respect the tags."""


class ComponentConfig(BaseModel):
    """Base class of every ``Config``: frozen, without unknown keys, and without implicit conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(ComponentConfig):
    """The sizes that all components of a model share, and the memory layout. A data set may set some of them."""

    steps: int = Field(4, ge=1, le=1024, description="time steps T")
    embed_dims: int = Field(256, ge=1, le=8192, description="embedding dimension D")
    num_heads: int = Field(16, ge=1, le=1024, description="attention heads; must divide embed_dims")
    image_size: int = Field(128, ge=4, le=4096, description="height and width of both inputs in pixels")
    layout: Literal["channels-last", "channels-first"] = Field(
        "channels-last", description="order of images in memory; convolutions round differently in either"
    )


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


class BadFileError(UserError):
    """A file of a data set that cannot be used: its path, and the reason, which ends with the remedy."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = str(path), " ".join(reason.split())

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class RepairedFileWarning(UserWarning):
    """What ``transform`` repaired in a file that it could use, such as the sample rate of a recording.

    ``warnings.warn(RepairedFileWarning(path, what))``: ``scmrl data check`` lists them.
    """

    def __init__(self, path: object, what: str) -> None:
        super().__init__(path, what)
        self.path, self.what = str(path), what

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def cache_dir() -> Path:
    """The folder for data that can be built again: ``SCMRL_CACHE``, else ``~/.cache/scmrl``."""
    named = os.environ.get("SCMRL_CACHE", "").strip()
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "scmrl"


class Component:
    """What the base classes of all kinds share."""

    tags: frozenset[str] = frozenset()
    """Where the component departs from what its kind promises: words from ``TAGS``."""

    @classmethod
    def adapt(cls, component: Any) -> Any:
        """Give a class that does not inherit this base class its defaults, and return it.

        Raises ``TypeError`` for what is not a component: not a class, or a class without a ``Config``.
        """
        if not (isinstance(component, type) and hasattr(getattr(component, "Config", None), "model_validate")):
            raise TypeError("is not a class with a Config, a subclass of ComponentConfig")
        if not issubclass(component, cls):
            for name in (*vars(cls), "tags"):
                if not name.startswith("_") and not hasattr(component, name):
                    setattr(component, name, inspect.getattr_static(cls, name))
        return component


class Neuron(Component, nn.Module):
    """``(x [T, B, *]) -> spikes [T, B, *]``: the complete sequence in one call, from a state of zero.

    ``forward(x)`` applies ``single_step`` T times, or computes the same in one pass.
    """

    requires_fp: bool = False
    """Whether a tool has asked to see the spikes of each call; BrainCog's name."""

    requires_mem: bool = False
    """Whether a tool has asked to see the membrane potential of each call; BrainCog's name."""

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The neuron's equation for one time step: ``x [B, *] -> spikes [B, *]`` and the state after it.

        The neuron decides what its state is. Without one the step starts from a state of zero.
        """
        raise NotImplementedError

    def pooled(self, x: Tensor, pool: nn.Module) -> Tensor | None:
        """``pool`` applied to each step of the spikes, in one pass with them, for inference.

        ``x [T, B, C, H, W] -> [T, B, C, H / s, W / s]`` for a pooling of stride s. The default, none, leaves it to
        the layer to call the neuron first and then the pooling; a neuron returns none where one pass is no faster.
        """
        return None


class Encoder(Component, nn.Module):
    """``(x [B, C, H, W] or [B, T, C, H, W]) -> [T, B, C, H, W]``, one instance a modality.

    A static input may come back as a view that repeats it T times. Events, which have T steps, are transposed.
    """


class Backbone(Component, nn.Module):
    """``(x [T, B, C, H, W]) -> tokens [T, B, D, N]``, one instance a modality."""

    widths: tuple[int, ...] = ()
    """Channels C' after each of ``stages``, the last of them D; empty unless the backbone is hierarchical."""

    stages: nn.ModuleList
    """Of a hierarchical backbone: modules ``[T, B, C, H, W] -> [T, B, C', H', W']``, the last of which gives the
    tokens as an image. A fusion block with ``between`` runs after the last stages."""

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """What follows the fusion, ``[T, B, D, N] -> [T, B, D, N]``, applied to each fused stream.

        In a Transformer this is the MLP of the last block, whose attention is the fusion. The default is the
        identity.
        """
        return tokens


class Fusion(Component, nn.Module):
    """``(audio [T, B, D, Na], visual [T, B, D, Nv]) -> Fused``."""

    modalities: ClassVar[tuple[Modality, ...]] = MODALITIES
    """The modalities that it uses. The other one is none in the call, and users need not provide it."""

    joint: ClassVar[bool] = False
    """Whether it returns a joint stream, which then predicts."""

    heads: ClassVar[tuple[Modality, ...]] = ()
    """Modalities whose streams get a head each, beside the one that predicts."""

    default_losses: Sequence[str | Mapping[str, Any]] = ("ce",)
    """The losses where the configuration names none: names, or sections as ``{"name": "ce", "weight": 0.5}``."""

    @property
    def between(self) -> Iterable[nn.Module]:
        """Fusion blocks that run after the last stages but one of a hierarchical backbone, in their order.

        A block is called as the fusion is, with the D of its stage, and its streams replace the backbones'.
        Assign an ``nn.ModuleList`` to have some; the default is none.
        """
        return dict(self.named_children()).get("between", nn.ModuleList())  # type: ignore[return-value]


class Readout(Component, nn.Module):
    """``(Fused) -> ModelOutput``."""

    further_heads: ClassVar[bool] = False
    """Whether it reads a joint stream and returns ``Context.heads`` as ``aux_logits``. A fusion that needs either
    is refused with any other read-out."""


class Loss(Component, nn.Module):
    """``(ModelOutput, target [B]) -> scalar``."""

    needs_firing_rates: bool = False
    """Whether the model must record ``ModelOutput.firing_rates`` for it."""

    example: ClassVar[Mapping[str, Any]] = {}
    """Sections of a configuration whose model gives the loss what it needs, for the conformance checks:
    ``{"fusion": {"name": "taaf"}}``."""


@runtime_checkable
class Foldable(Protocol):
    """A module, in any component, that inference can simplify."""

    def fold(self) -> bool:
        """Fold what inference can do without, such as batch norm, into what it needs; whether anything was.

        Called in evaluation mode. Neuron layers must stay.
        """
        ...


@runtime_checkable
class CountsRepeats(Protocol):
    """A batch norm whose ``forward(x, repeats)`` takes x as one of so many copies of the batch.

    Copies change the unbiased running variance alone. Layers that process a static input once use it.
    """

    counts_repeats: bool


class Dataset(Component):
    """``(config, model) ->`` classes, Hugging Face splits, and the way from their rows to a model's inputs.

    Building one reads no file, so that a model can be assembled without the data. ``transform`` computes a row's
    arrays once, and they are stored; ``inputs`` computes the model's inputs from the stored arrays each time a
    sample is loaded. A row that ``transform`` refuses with a ``BadFileError`` stops the run or is left out, as
    ``data.on_bad`` says.
    """

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Sections of the configuration that this data set changes unless the user sets them, ``{"model": {...}}``."""
    classes: Sequence[str]
    """The names of the classes, in the order of their labels; empty where only the files tell, see ``settle``."""
    channels: Mapping[str, int]
    """Channels of each modality's inputs, ``{"audio": 1, "visual": 3}``."""

    @classmethod
    def settle(cls, config: Any) -> Any:
        """The configuration with what only the files can tell, such as the names of the classes.

        Called before the data set is built for work that needs the files or the classes. By default nothing is
        looked up.
        """
        return config

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Write a miniature of the data set's files into ``folder`` and return the options that read it.

        For tests: a few samples of each class in each split, made without a network.
        """
        raise NotImplementedError

    def splits(self) -> Mapping[str, datasets.Dataset | datasets.IterableDataset]:
        """``train``, ``validation`` and ``test`` with columns ``audio``, ``visual``, ``label`` and ``id``.

        A stream comes in a fixed order, not shuffled: training shuffles stored samples. Raises ``UserError`` where
        the files are not those that the data set expects.
        """
        raise NotImplementedError

    def bad_files(self) -> Sequence[BadFileError]:
        """The files that ``splits`` left out, such as a recording without its picture. By default none."""
        return ()

    def transform(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[np.ndarray] | np.ndarray]:
        """A batch of rows to ``audio`` and ``visual``, an array a row; without ``inputs`` float32 ``[C, H, W]``.

        Deterministic: the result is computed once and stored. Raises ``BadFileError`` for a row that cannot be
        used.
        """
        raise NotImplementedError

    def transform_key(self) -> Mapping[str, Any] | None:
        """All that the result of ``transform`` depends on beside the row: settings and sizes by name.

        Stored arrays serve every configuration with the same key. Where rows come as a stream, the key also
        identifies the stream, whose rows are not compared. By default none: the data set's complete configuration
        and all sizes of the model.
        """
        return None

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> Mapping[str, np.ndarray]:
        """A sample's stored arrays to ``audio`` and ``visual``, float32 ``[C, H, W]`` or ``[T, C, H, W]``.

        Random draws in training come from torch's generator, which is seeded for each sample and epoch. By default
        the stored arrays are the inputs.
        """
        return stored

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        """One row (columns ``audio``, ``visual``) from the user's files; ``UserError`` for bad ones.

        A file that does not fit, such as one of another sample rate or image size, is refused, or, with
        ``convert``, converted.
        """
        raise NotImplementedError


__all__ = [
    "MODALITIES",
    "SPLITS",
    "TAGS",
    "Backbone",
    "BadFileError",
    "Component",
    "ComponentConfig",
    "Context",
    "CountsRepeats",
    "Dataset",
    "Encoder",
    "Foldable",
    "Fused",
    "Fusion",
    "Loss",
    "Modality",
    "ModelConfig",
    "ModelOutput",
    "Neuron",
    "NeuronFactory",
    "Readout",
    "RepairedFileWarning",
    "cache_dir",
]

"""The base classes of the kinds that are torch modules, with their optional abilities as defaults."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from scmrl_plugins.core.interfaces.equations import IntegrateAndFire
from scmrl_plugins.core.interfaces.settings import MODALITIES, Modality

TAGS: Mapping[str, str] = {
    "analogue": "neuron, encoder: the output has values other than 0 and 1",
    "stochastic": "draws from torch's random generator: two calls differ unless it is seeded",
    "memoryless": "neuron: each step depends on the input of that step only",
    "equal-tokens": "fusion: raises a UserError for modalities with different numbers of tokens",
    "no-compile": "torch.compile may change the result",
}
"""The tags and what they declare. A component sets ``tags = frozenset({"stochastic"})`` on its class, or on the
instance where its settings decide. The conformance checks of ``scmrl_plugins.testing`` respect the tags."""


class Component:
    """What the base classes of all kinds share."""

    tags: frozenset[str] = frozenset()
    """Where the component departs from what its kind promises: a set of words from ``TAGS``."""

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

    s[t], state[t] = single_step(x[t], state[t-1]) for t = 1 ... T, step by step or fused into one pass. x is an
    input current, in the units of the neuron's threshold; spikes are 0 or 1 unless the neuron is tagged
    ``analogue``. A gradient reaches x through a surrogate of the spike's derivative.
    """

    requires_fp: bool = False
    """Whether the spikes of each call are kept for a tool (BrainCog's name)."""

    requires_mem: bool = False
    """Whether the membrane potentials of each call are kept for a tool (BrainCog's name)."""

    mem_collect: Sequence[Tensor] = ()
    """With ``requires_mem``, the membrane potentials ``[B, *]`` after each step of the last call (BrainCog's
    name); empty for a neuron without a membrane."""

    bits: int | None = None
    """Bits of an output that is quantised; none for spikes and for real numbers."""

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step, ``x [B, *] -> spikes [B, *]``, and the state after it; required.

        A state may be any object. The first step gets none, which stands for a state of zero.
        """
        raise NotImplementedError

    def integrate_and_fire(self) -> IntegrateAndFire | None:
        """The parameters of the neuron if it is integrate-and-fire with a reset to zero; None for another one.

        For formats that describe a network by its neurons, such as NIR.
        """
        return None

    def pooled(self, x: Tensor, pool: nn.Module, steps: int) -> Tensor | None:
        """``pool(spikes[t])`` for each time step, fused with the neuron, with the gradient of x.

        ``x [T, B, C, H, W] -> [T, B, C, H / s, W / s]`` for a pooling of stride s; ``x [1, B, C, H, W]`` is the
        current of all T = ``steps`` steps. None, the default, means that fusing does not pay or is not supported:
        the layer then calls the neuron and the pooling in turn.
        """
        return None

    def normalized(self, y: Tensor, norm: nn.Module, pool: nn.Module | None, steps: int) -> Tensor | None:
        """``pool(spikes[t])`` for each time step for the currents norm(y), fused, with all gradients.

        ``norm`` is a batch norm over all but the channels C, ``y [T or 1, B, C, *]``; ``pool`` may be none. None,
        the default, means as for ``pooled``: the layer calls them in turn.
        """
        return None


class Encoder(Component, nn.Module):
    """``(x [B, C, H, W] or [B, T, C, H, W]) -> [T, B, C, H, W]``, one instance per modality.

    A static input is coded in T steps of values 0 or 1, or of any value if the encoder is tagged ``analogue``. The
    result may be a view that repeats it. Events, which have T steps already, are transposed, not changed.
    """


class Backbone(Component, nn.Module):
    """``(x [T, B, C, H, W]) -> tokens [T, B, D, N]``, one instance per modality.

    A hierarchical backbone has ``widths`` and ``stages``, so that a fusion block can run between its last stages.
    """

    widths: tuple[int, ...] = ()
    """Channels C' after each of ``stages``, the last of them D. Empty: the backbone is not hierarchical."""

    stages: nn.ModuleList
    """Modules ``[T, B, C, H, W] -> [T, B, C', H', W']``, applied in turn. The pixels of the last result are the
    tokens. A backbone with ``widths`` must have them."""

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """Applied to the modality's stream after the fusion: ``[T, B, D, N] -> [T, B, D, N]``.

        In a Transformer, the MLP of a block that has the fusion for its attention. The identity by default.
        """
        return tokens

    @property
    def after_fusion(self) -> Sequence[nn.Module]:
        """The modules that only ``feed_forward`` uses, which may learn if the rest is frozen; none by default."""
        return ()


class Fusion(Component, nn.Module):
    """``(audio [T, B, D, Na], visual [T, B, D, Nv]) -> Fused``.

    Tagged ``equal-tokens``, it raises ``UserError`` for Na != Nv.
    """

    modalities: ClassVar[tuple[Modality, ...]] = MODALITIES
    """The modalities that it uses. Another one is none in the call, and the model does not need it as an input."""

    joint: ClassVar[bool] = False
    """Whether it returns a joint stream, from which the model then predicts."""

    interacts: bool = True
    """Whether the modalities interact in it. False: nothing crosses between them by design, as in late fusion, and
    the stream of one modality after the fusion does not depend on the other one."""

    heads: ClassVar[tuple[Modality, ...]] = ()
    """The modalities whose streams get an auxiliary head."""

    default_losses: Sequence[str | Mapping[str, Any]] = ("ce",)
    """The losses if the configuration has none: names, or sections such as ``{"name": "ce", "weight": 0.5}``."""

    @property
    def between(self) -> Iterable[nn.Module]:
        """Fusion blocks for the stages before the last of a hierarchical backbone; none by default.

        n blocks run after the n stages before the last, in their order. Each is called like the fusion, with D the
        width of its stage, and returns the input of the next stage. A subclass assigns an ``nn.ModuleList``.
        """
        return dict(self.named_children()).get("between", ())  # type: ignore[return-value]


class Readout(Component, nn.Module):
    """``(Fused) -> ModelOutput``.

    The streams of the modalities in ``Context.modalities`` are not none.
    """

    further_heads: ClassVar[bool] = False
    """Whether it supports ``Context.joint`` and ``Context.heads``: it predicts from a joint stream, and returns
    the logits of the heads as ``aux_logits``. A fusion that needs either is refused with other read-outs."""

    reads_unimodal: ClassVar[bool] = False
    """Whether it also reads ``Fused.unimodal``, the streams of the modalities without the fusion block."""

    def head_of(self, modality: Modality) -> nn.Module | None:
        """The head that predicts the classes from the stream of this modality alone; none by default.

        Where a run that ``train.pretrained`` names has one as well, this one starts from its weights.
        """
        return None

    def split(self, features: Mapping[Modality, Tensor]) -> Mapping[Modality, Tensor]:
        """The logits of each stream alone, ``[B, K]``, from its mean over time steps and tokens, ``[B, D]``.

        Linear read-outs have such a split, W_m f_m + b / M for M modalities; none by default.
        """
        return {}


class Loss(Component, nn.Module):
    """``(ModelOutput, target [B]) -> scalar``; the losses of a model are added up, each with its weight.

    ``target`` has the indices of the classes. Raises ``UserError`` if the output lacks what the loss needs.
    """

    needs_firing_rates: bool = False
    """Whether the model records ``ModelOutput.firing_rates``."""

    example: ClassVar[Mapping[str, Any]] = {}
    """For the conformance checks: sections of a configuration with which the output has what the loss needs,
    ``{"fusion": {"name": "taaf"}}``."""


@runtime_checkable
class Foldable(Protocol):
    """A module, anywhere in a component, that can be simplified for inference."""

    def fold(self) -> bool:
        """Fold a part of the module into another, such as batch norm into a convolution; whether it did.

        Called in evaluation mode. The output stays the same up to rounding, and neuron layers are kept.
        """
        ...


@runtime_checkable
class Attends(Protocol):
    """A module, anywhere in a component, that weighs tokens or time steps, and can keep the weights of a call.

    With ``requires_attention``, each call leaves in ``attention_weights`` how much each of M keys counts for each
    of N queries: ``[T, B, heads, N, M]`` over the tokens of a step, or ``[T, B, heads, N, T']`` over time steps.
    """

    requires_attention: bool
    attends_over: Literal["tokens", "steps"]
    attention_weights: Tensor | None


@runtime_checkable
class CountsRepeats(Protocol):
    """A batch norm with ``forward(x, repeats)``, where x stands for ``repeats`` copies of the batch.

    Copies change only the unbiased running variance. Layers that process a static input once use it.
    """

    counts_repeats: bool

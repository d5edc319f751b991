"""BrainCog's nodes as layers over [T, B, *]: one adapter that steps any of them."""

from __future__ import annotations

import copy
import functools
import inspect
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context
from scmrl_plugins.plugins.braincog import NODES
from scmrl_plugins.plugins.braincog.upstream import node
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES, SurrogateName
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near


class NodeAdapter(nn.Module):
    """s[t] = node(x[t]) for t = 1..T with BrainCog's node reset before and after: ``x [T, B, *] -> [T, B, *]``.

    Settings left out are BrainCog's own defaults. What comes out is what the node puts out: most give spikes
    in {0, 1}, some (``ReLUNode``, ``LIAFNode``, ``DGLIFNode``) analogue values.
    """

    class Config(ComponentConfig):
        threshold: float | None = Field(None, description="firing threshold")
        tau: float | None = Field(None, gt=0, description="membrane time constant, where the node has one")
        surrogate: SurrogateName | None = Field(None, description="surrogate, where the node has one")
        alpha: float | None = Field(None, gt=0, le=1e6, description="slope of the surrogate")
        detach_membrane: bool = Field(True, description="let no gradient cross time steps")
        options: dict[str, float | int | bool] = Field(
            default_factory=dict, description="further keywords of the node's constructor"
        )

    node_name: ClassVar[str]
    tags: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__()
        self.node: Any = self._make(config)

    def _make(self, config: Config) -> nn.Module:
        cls = getattr(node, self.node_name)
        accepted = _parameters(cls)
        free = (accepted | _HIDDEN.get(self.node_name, set())) - _OWN_SETTINGS - _CODE
        if unknown := set(config.options) - free:
            raise UserError(
                f"neuron.options.{min(unknown)}: not an option of BrainCog's {self.node_name}"
                f"{near(min(unknown), free)}; options are {', '.join(sorted(free))}"
            )
        keywords: dict[str, Any] = {**config.options, "mem_detach": config.detach_membrane}
        for key in ("threshold", "tau"):
            value = getattr(config, key)
            if value is not None and key not in accepted:
                raise UserError(f"neuron.{key}: BrainCog's {self.node_name} has none; leave it out")
            if value is not None:
                keywords[key] = value
        if config.surrogate is not None:
            if "act_fun" not in accepted or self.node_name == "LIAFNode":
                raise UserError(f"neuron.surrogate: BrainCog's {self.node_name} has none; leave it out")
            keywords["act_fun"] = SURROGATES[config.surrogate].act_fun
        try:
            made = copy.deepcopy(cls(**keywords))  # LIAFNode's surrogate is a default that all of them share
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"neuron: BrainCog's {self.node_name} does not take these settings: {error}"
            ) from error
        if self.node_name == "DGLIFNode":
            made.v_reset = 0.0  # BrainCog hands tau on in its place, so that the node would fire by itself
        if config.alpha is not None:
            alpha = getattr(getattr(made, "act_fun", None), "alpha", None)
            if alpha is None:
                raise UserError(f"neuron.alpha: the surrogate of BrainCog's {self.node_name} has no slope")
            alpha.data.fill_(config.alpha)
        return made

    def forward(self, x: Tensor) -> Tensor:
        _reset(self.node)
        spikes = torch.stack([_step(self.node, current) for current in x])
        _reset(self.node)
        return spikes

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """BrainCog's own step: ``x [B, *] -> [B, *]``; the state is a copy of the node with its membrane."""
        if state is None:
            state = copy.deepcopy(self.node)
            _reset(state)
        return _step(state, x), state


def _step(node: Any, x: Tensor) -> Tensor:
    # BrainCog's atan and gates return float32 whatever they are given, and OnlineLIFNode appends a trace of
    # its rate to the batch.
    return node(x)[: x.shape[0]].to(x.dtype)


def _reset(node: Any) -> None:
    node.n_reset()
    if hasattr(node, "rate_tracking"):  # BrainCog's reset leaves OnlineLIFNode's state behind
        node.rate_tracking, node.init = None, True


# Settings above, and those of how BrainCog steps a node, which the adapter does here.
_OWN_SETTINGS = {"threshold", "tau", "mem_detach", "step", "layer_by_layer", "n_groups", "requires_fp"}
# Keywords that a constructor takes without naming them.
_HIDDEN = {
    "IzhNode": {"a", "b", "c", "d"},
    "IzhNodeMU": {"a", "b", "c", "d"},
    "NoisePLIFNode": {"log_alpha", "log_beta"},
}
# BrainCog evaluates these where they are strings: only classes from the table of surrogates reach them.
_CODE = {"act_fun", "spike_act"}


@functools.cache
def _parameters(cls: type) -> frozenset[str]:
    """The keywords that a node's constructor takes, through its base classes."""
    names: set[str] = set()
    for base in cls.__mro__:
        if not issubclass(base, node.BaseNode):
            continue
        parameters = inspect.signature(base).parameters.values()
        names |= {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return frozenset(names)


_ANALOGUE = frozenset({"analogue"})
# Compiled by torch 2.11 they draw other noise under the same seed.
_NOISY = frozenset({"stochastic", "no-compile"})
TAGS = {
    "ReLUNode": frozenset({"analogue", "memoryless"}),
    "BiasReLUNode": frozenset({"analogue", "memoryless"}),
    "BurstLIFNode": _ANALOGUE,
    "DGLIFNode": _ANALOGUE,
    "HTDGLIFNode": _ANALOGUE,
    "LIAFNode": _ANALOGUE,
    "NoiseLIFNode": _NOISY,
    "NoisePLIFNode": _NOISY,
}


def __getattr__(name: str) -> type[NodeAdapter]:
    """``nodes:PLIFNode`` and so on: an adapter class for each node of BrainCog's, made on first use."""
    if name not in NODES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    members = {
        "node_name": name,
        "tags": TAGS.get(name, frozenset()),
        "__module__": __name__,
        "__doc__": f"BrainCog's {name}: {NODES[name]}.",
    }
    made = type(name, (NodeAdapter,), members)
    globals()[name] = made
    return made

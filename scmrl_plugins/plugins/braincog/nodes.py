"""BrainCog's nodes as layers over ``[T, B, *]``, through one adapter that steps any of them."""

from __future__ import annotations

import copy
import functools
import inspect
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Neuron
from scmrl_plugins.plugins.braincog import NODES
from scmrl_plugins.plugins.neurons.surrogates import SURROGATES, SurrogateName
from scmrl_plugins.plugins.neurons.upstream import node
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near


class NodeAdapter(Neuron):
    """s[t] = node(gain x[t]) for t = 1..T, the node reset before and after: ``x [T, B, *] -> [T, B, *]``.

    Settings that are left out have BrainCog's defaults. Most nodes return spikes in {0, 1}, some (``ReLUNode``,
    ``LIAFNode``, ``DGLIFNode``) analogue values.
    """

    class Config(ComponentConfig):
        threshold: float | None = Field(None, description="firing threshold")
        tau: float | None = Field(None, gt=0, description="membrane time constant, where the node has one")
        surrogate: SurrogateName | None = Field(None, description="surrogate, where the node has one")
        alpha: float | None = Field(None, gt=0, le=1e6, description="slope of the surrogate")
        detach_membrane: bool = Field(True, description="let no gradient cross time steps")
        gain: float | None = Field(
            None,
            gt=0,
            json_schema_extra={"before": 1.0},
            description="factor of the input; none: 30 for IzhNode and IzhNodeMU, 20 for SimHHNode, else 1",
        )
        options: dict[str, float | int | bool] = Field(
            default_factory=dict, description="further keywords of the node's constructor"
        )

    node_name: ClassVar[str]

    def __init__(self, config: Config, context: Context | None = None) -> None:
        super().__init__()
        self.node: Any = self._make(config)
        self.gain = config.gain or _GAINS.get(self.node_name, 1.0)

    def _make(self, config: Config) -> Any:
        cls = getattr(node, self.node_name)
        accepted = _parameters(cls)
        free = (accepted | _HIDDEN.get(self.node_name, set())) - _RESERVED - _CODE
        if unknown := set(config.options) - free:
            raise UserError(
                f"neuron.options.{min(unknown)}: not an option of BrainCog's {self.node_name}"
                f"{near(min(unknown), free)}; options are {', '.join(sorted(free))}"
            )
        keywords: dict[str, Any] = {**config.options, "mem_detach": config.detach_membrane}
        for key, value in (("threshold", config.threshold), ("tau", config.tau)):
            if value is not None and key not in accepted:
                raise UserError(f"neuron.{key}: BrainCog's {self.node_name} has none; leave it out")
            if value is not None:
                keywords[key] = value
        if config.surrogate is not None:
            if "act_fun" not in accepted or self.node_name == "LIAFNode":
                raise UserError(f"neuron.surrogate: BrainCog's {self.node_name} has none; leave it out")
            keywords["act_fun"] = SURROGATES[config.surrogate].act_fun
        try:
            # A copy, as all LIAFNodes share a default argument, their surrogate.
            made = copy.deepcopy(cls(**keywords))
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"neuron: BrainCog's {self.node_name} does not take these settings: {error}"
            ) from error
        if self.node_name == "DGLIFNode":
            made.v_reset = 0.0  # BrainCog passes tau in its place, so that the node would fire without input
        if config.alpha is not None:
            slope = dict(made.named_parameters()).get("act_fun.alpha")
            if slope is None:
                raise UserError(f"neuron.alpha: the surrogate of BrainCog's {self.node_name} has no slope")
            slope.data.fill_(config.alpha)
        return made

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """``nn.Module._apply``, but for the parameters of the noise, whose distribution has no half precision."""
        super()._apply(fn, recurse)
        for name, parameter in self.node.named_parameters(recurse=False):
            if name in ("log_alpha", "log_beta") and parameter.dtype in (torch.float16, torch.bfloat16):
                parameter.data = parameter.data.float()
        return self

    def forward(self, x: Tensor) -> Tensor:
        _reset(self.node)
        spikes, membrane = [], []
        for current in x:
            spikes.append(self._step(self.node, current))
            if self.requires_mem and isinstance(self.node.mem, Tensor):  # a number in nodes without a membrane
                membrane.append(self.node.mem[: x.shape[1]].detach().clone())
        _reset(self.node)
        self.mem_collect = membrane
        return torch.stack(spikes)

    def single_step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One step of the node: ``x [B, *] -> [B, *]``; the state is a copy of it with its membrane."""
        if state is None:
            state = copy.deepcopy(self.node)
            _reset(state)
        return self._step(state, x), state

    def _step(self, cell: Any, x: Tensor) -> Tensor:
        # BrainCog's atan and gates return float32, and OnlineLIFNode appends a trace of its rate to the batch.
        return cell(x if self.gain == 1 else self.gain * x)[: x.shape[0]].to(x.dtype)


def _reset(cell: Any) -> None:
    cell.n_reset()
    if isinstance(cell, node.OnlineLIFNode):  # BrainCog's reset keeps its state
        cell.rate_tracking, cell.init = None, True


# These nodes count in millivolts. Without a gain, currents of deviation 1 have no effect on their spikes.
_GAINS = {"IzhNode": 30.0, "IzhNodeMU": 30.0, "SimHHNode": 20.0}
# Keywords that the adapter sets: settings of its Config, and how BrainCog steps a node.
_RESERVED = {"threshold", "tau", "mem_detach", "step", "layer_by_layer", "n_groups", "requires_fp"}
# Keywords that a constructor reads from **kwargs.
_HIDDEN = {
    "IzhNode": {"a", "b", "c", "d"},
    "IzhNodeMU": {"a", "b", "c", "d"},
    "NoisePLIFNode": {"log_alpha", "log_beta"},
}
# As strings, BrainCog evaluates these as code: only classes from the table of surrogates may reach them.
_CODE = {"act_fun", "spike_act"}


@functools.cache
def _parameters(cls: type) -> frozenset[str]:
    """The keywords that a node's constructor accepts, including those of its base classes."""
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
# Compiled, they draw different noise under the same seed (torch 2.11).
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
    """``nodes:PLIFNode`` and so on: an adapter class for each of BrainCog's nodes, made on first use."""
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

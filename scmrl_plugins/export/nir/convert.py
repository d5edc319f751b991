"""A traced model as a graph of NIR, operator by operator; what NIR cannot express is named by layer."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from scmrl_plugins.core.interfaces import IntegrateAndFire
from scmrl_plugins.export.nir.graph import Converted, Graph
from scmrl_plugins.export.nir.operators import LAYERS, NAMES, OPERATORS
from scmrl_plugins.export.nir.values import Joined, Lost, Unsupported, Value

VIEWS = frozenset(
    [
        *("alias", "clone", "contiguous", "detach", "expand", "flatten", "mT", "movedim", "permute", "reshape"),
        *("select", "slice", "squeeze", "swapaxes", "t", "to", "transpose", "unflatten", "unsqueeze", "view"),
        *("_unsafe_view", "dropout", "identity"),
    ]
)
"""Operators that move values, or in evaluation pass them on."""
LISTS = frozenset(["unbind", "split", "chunk", "split_with_sizes"])


class Converter(Graph):
    """Walks a traced graph for inputs of ``batch`` samples and ``steps`` time steps."""

    def __init__(self, specs: Mapping[str, IntegrateAndFire | None], steps: int, batch: int) -> None:
        super().__init__(specs, steps, batch)
        self.lost: dict[fx.Node, Value] = {}
        self.values: dict[fx.Node, Any] = {}

    def run(self, traced: fx.GraphModule) -> Converted:
        """The conversion of the whole graph."""
        constants = {**dict(traced.named_parameters()), **dict(traced.named_buffers())}
        for node in traced.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._input(node)
            elif node.op == "get_attr":
                self.values[node] = constants[node.target].detach()
            elif node.op == "call_function":
                self.values[node] = self._call(node)
            elif node.op == "output":
                self._output(node)
        self._prune()
        return self.result

    def _input(self, node: fx.Node) -> Value:
        shape = tuple(node.meta["val"].shape)
        events = len(shape) == 5
        inner = shape[2:] if events else shape[1:]
        name = str(node.target)
        self.result.nodes[name] = self.nir.Input(input_type={"input": np.array(inner)})
        self.producers[name] = node
        self.result.entered[name] = node
        if events:  # [B, T, *]
            numbers = torch.arange(math.prod(shape)).reshape(shape[1], shape[0], *inner).transpose(0, 1)
        else:
            numbers = torch.arange(math.prod(shape)).reshape(shape)
        return Value((name,), inner, numbers, static=not events)

    def _call(self, node: fx.Node) -> Any:
        args: Any = fx.map_arg(node.args, lambda n: self.values[n])
        kwargs: Any = fx.map_arg(node.kwargs, lambda n: self.values[n])
        tracked = [x for x in _leaves((args, kwargs)) if isinstance(x, Value | Lost | Joined)]
        target: Any = node.target
        if "_assert" in str(target):
            return None
        if target is operator.getitem:
            return args[0][args[1]] if isinstance(args[0], list | tuple) else Lost(node)
        if not tracked:
            return target(*args, **kwargs) if "sym" not in str(target) else None
        name = str(target).removeprefix("aten.").removeprefix("scmrl.").partition(".")[0]
        try:
            if name in VIEWS or name in LISTS:
                return self._view(node, target, args, kwargs)
            if name not in OPERATORS:
                raise Unsupported(NAMES.get(name, name.replace("_", " ")))
            lost = [x for x in tracked if isinstance(x, Lost)]
            if lost and name not in LAYERS and (name != "add" or len(lost) == len(tracked)):
                self._leave(node)  # the rest is outside of the graph
                return Lost(node)
            given = [self._known(x) if isinstance(x, Lost) else x for x in args]
            return OPERATORS[name](self, node, *given, **kwargs)
        except Unsupported as reason:
            self._lack(node, str(reason))
            return Lost(node)

    def _view(self, node: fx.Node, target: Any, args: Any, kwargs: Any) -> Any:
        value = args[0]
        if not isinstance(value, Value) or any(isinstance(x, Lost | Joined) for x in args[1:]):
            return Lost(node)
        rest = [x.numbers if isinstance(x, Value) else x for x in args[1:]]
        if "dropout" in str(target) or "identity" in str(target) or ".to." in str(target):
            return value
        moved = target(value.numbers, *rest, **kwargs)

        def of(numbers: Tensor) -> Value:
            return Value(value.sources, value.shape, numbers, value.static, value.mean)

        return of(moved) if isinstance(moved, Tensor) else [of(one) for one in moved]

    def _known(self, lost: Lost) -> Value:
        """A tensor that NIR cannot compute as an input of the graph."""
        if lost.node not in self.lost:
            shape = tuple(lost.node.meta["val"].shape)
            if shape[:2] == (self.steps, self.batch):
                inner = shape[2:]
            elif shape[:1] == (self.steps * self.batch,):
                inner = shape[1:]
            else:
                raise Unsupported(f"a tensor {list(shape)} without time steps and samples in front")
            made = self.nir.Input(input_type={"input": np.array(inner)})
            name = self.add(lost.node, made, (), ".out")
            self.result.entered[name] = lost.node
            numbers = torch.arange(math.prod(shape)).reshape(shape)
            self.lost[lost.node] = Value((name,), inner, numbers)
        return self.lost[lost.node]

    def _lack(self, node: fx.Node, reason: str) -> None:
        found = self.result.lacking.setdefault(self.layer(node), [])
        if reason not in found:
            found.append(reason)
        self._leave(node)

    def _leave(self, node: fx.Node) -> None:
        """What an operator outside of the graph gets of it as outputs."""
        for source in node.all_input_nodes:
            value = self.values[source]
            for one in value.parts if isinstance(value, Joined) else [value]:
                if isinstance(one, Value):
                    self.leave(node, source, one, ".in")

    def _output(self, node: fx.Node) -> None:
        [source] = node.all_input_nodes
        value = self.values[source]
        if isinstance(value, Value):
            name = self.leave(node, source, value, "")
            self.rename(name, "logits")

    def _prune(self) -> None:
        """Remove what only passes an input of a cut to an output."""
        result = self.result
        for name in [name for name in result.left if name != "logits"]:
            sources = [a for a, b in result.edges if b == name]
            if all(source in result.entered for source in sources):
                result.edges = [edge for edge in result.edges if edge[1] != name]
                del result.nodes[name], result.left[name]
        used = {a for a, _ in result.edges}
        for name in [name for name in result.entered if name not in used]:
            del result.nodes[name], result.entered[name]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _leaves(one)]
    return [leaf for one in value.values() for leaf in _leaves(one)] if isinstance(value, dict) else [value]

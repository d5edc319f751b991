"""Graphs of NIR, stepped: one time step of every node after the other, from a state of zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.registry import UserError


class Stepper:
    """``{input: [T, B, *]} -> {output: [T, B, *]}``: a graph of NIR without loops, with Euler steps of dt.

    Several edges into a node are a sum. LIF: v += dt/tau ((v_leak - v) + r x), IF: v += dt r x; a spike where
    v > v_threshold, strictly, then v = v_reset.
    """

    def __init__(self, graph: Any, dt: float) -> None:
        self.graph, self.dt = graph, dt
        self.sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            self.sources[target].append(source)
        self.order = _sorted(self.sources)
        self.parameters = {
            name: {key: torch.as_tensor(value) for key, value in vars(node).items() if _is_array(value)}
            for name, node in graph.nodes.items()
        }

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        outputs: dict[str, list[Tensor]] = {}
        steps = len(next(iter(inputs.values())))
        for t in range(steps):
            values: dict[str, Tensor] = {}
            for name in self.order:
                kind = type(self.graph.nodes[name]).__name__
                if kind == "Input":
                    values[name] = inputs[name][t]
                    continue
                x = sum_of([values[source] for source in self.sources[name]])
                if kind == "Output":
                    outputs.setdefault(name, []).append(x)
                values[name] = self._step(name, kind, x, state)
        return {name: torch.stack(found) for name, found in outputs.items()}

    def _step(self, name: str, kind: str, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        node, of = self.graph.nodes[name], self.parameters[name]
        match kind:
            case "Output":
                return x
            case "Affine":
                return F.linear(x, of["weight"], of["bias"])
            case "Linear":
                return F.linear(x, of["weight"])
            case "Scale":
                return x * of["scale"]
            case "Flatten":
                first, last = (int(d) + (d >= 0) for d in (node.start_dim, node.end_dim))  # after the samples
                return x.flatten(first, last)
            case "Conv1d" | "Conv2d":
                convolve: Any = F.conv1d if kind == "Conv1d" else F.conv2d
                sizes = [_sizes(value) for value in (node.stride, node.padding, node.dilation)]
                return convolve(x, of["weight"], of["bias"], *sizes, int(node.groups))
            case "AvgPool2d":
                return F.avg_pool2d(x, *(_sizes(v) for v in (node.kernel_size, node.stride, node.padding)))
            case "LIF" | "IF":
                return self._spikes(name, kind, x, state)
        raise UserError(f"NIR node {name}: the interpreter has no {kind}")

    def _spikes(self, name: str, kind: str, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        of = self.parameters[name]
        v = state.get(name, torch.zeros_like(x))
        if kind == "LIF":
            # In double precision, so that a tau of whole steps is one again.
            steps = (of["tau"].double() / self.dt).to(x.dtype)
            v = ((of["v_leak"] - v) + of["r"] * x) / steps + v
        else:
            v = v + (of["r"].double() * self.dt).to(x.dtype) * x
        fires = v > of["v_threshold"]
        state[name] = torch.where(fires, of["v_reset"], v)
        return fires.to(x.dtype)


def sum_of(values: list[Tensor]) -> Tensor:
    """The sum, in order."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _sorted(sources: Mapping[str, list[str]]) -> list[str]:
    """The nodes, each after its sources. Raises ``UserError`` for a graph with a loop."""
    order: dict[str, None] = {}
    while len(order) < len(sources):
        ready = [name for name, of in sources.items() if name not in order and all(one in order for one in of)]
        if not ready:
            raise UserError("the NIR graph has a loop, which the interpreter does not run")
        order |= dict.fromkeys(ready)
    return list(order)


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None


def _sizes(value: Any) -> Any:
    if isinstance(value, bytes | str):
        return value.decode() if isinstance(value, bytes) else value
    return [int(one) for one in torch.as_tensor(value).reshape(-1)]

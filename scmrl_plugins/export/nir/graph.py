"""A graph of NIR that is being made: its nodes, and what each of them stands for in the traced model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import fx

from scmrl_plugins.core.interfaces import IntegrateAndFire
from scmrl_plugins.export.nir.values import Value


@dataclass
class Converted:
    """Nodes and edges, what NIR cannot say, and the traced tensors that inputs and outputs stand for."""

    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    lacking: dict[str, list[str]] = field(default_factory=dict)
    """By layer, the operators that NIR does not have."""
    entered: dict[str, fx.Node] = field(default_factory=dict)
    left: dict[str, tuple[fx.Node, Value]] = field(default_factory=dict)


class Graph:
    """The graph for inputs of ``batch`` samples and ``steps`` time steps; ``specs``: the neuron layers by name."""

    def __init__(self, specs: Mapping[str, IntegrateAndFire | None], steps: int, batch: int) -> None:
        import nir

        self.nir, self.specs, self.steps, self.batch = nir, specs, steps, batch
        self.result = Converted()
        self.producers: dict[str, fx.Node] = {}

    def add(self, node: fx.Node, nir_node: Any, sources: tuple[str, ...], suffix: str = "") -> str:
        """A node of the graph, named after the layer, with its edges."""
        layer = self.layer(node)
        name, count = f"{layer}{suffix}", 1
        while name in self.result.nodes:
            count += 1
            name = f"{layer}{suffix}#{count}"
        self.result.nodes[name] = nir_node
        self.result.edges += [(source, name) for source in dict.fromkeys(sources)]
        self.producers[name] = node
        return name

    def layer(self, node: fx.Node) -> str:
        """The module that an operator is of, by its name in the model."""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        path = str(stack[-1][0]) if stack else ""
        path = path.removeprefix("L['self'].").removeprefix("model").lstrip(".")
        return path or node.name

    def leave(self, node: fx.Node, source: fx.Node, value: Value, suffix: str) -> str:
        """The value as an output of the graph, which stands for the traced tensor of ``source``."""
        if len(value.sources) > 1:  # some readers do not add at an output
            value = self.of(value, self.add(node, self._same(value.shape), value.sources, ".sum"))
        made = self.nir.Output(output_type={"output": np.array(value.shape)})
        name = self.add(node, made, value.sources, suffix)
        self.result.left[name] = (source, value)
        return name

    def _same(self, shape: tuple[int, ...]) -> Any:
        """A node that changes nothing: of vectors an affine layer, as fewer readers know a scale."""
        if len(shape) > 1:
            return self.nir.Scale(scale=np.ones(shape, np.float32))
        return self.nir.Affine(weight=np.eye(*shape, dtype=np.float32), bias=np.zeros(shape, np.float32))

    def rename(self, old: str, new: str) -> None:
        """Give an output another name."""
        result = self.result
        result.nodes[new] = result.nodes.pop(old)
        result.edges = [(new if a == old else a, new if b == old else b) for a, b in result.edges]
        result.left[new] = result.left.pop(old)

    def of(self, value: Value, name: str, shape: tuple[int, ...] | None = None, numbers: Any = None) -> Value:
        """The output of a node that takes the place of a value."""
        return Value(
            (name,), shape or value.shape, value.numbers if numbers is None else numbers, value.static, value.mean
        )

    def foldable(self, node: fx.Node, value: Value) -> str | None:
        """The convolution or linear layer whose output nothing else than this operator gets."""
        if len(value.sources) != 1:
            return None
        [name] = value.sources
        if type(self.result.nodes[name]).__name__ not in ("Affine", "Conv1d", "Conv2d"):
            return None
        producer, before = self.producers[name], node.all_input_nodes[0]
        while len(before.users) == 1:
            if before is producer:
                return name
            if not before.all_input_nodes:
                return None
            before = before.all_input_nodes[0]
        return None

"""A traced model as a graph of NIR; what NIR cannot say is named by layer."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from scmrl_plugins.core.interfaces import IntegrateAndFire
from scmrl_plugins.export.nir.values import (
    Joined,
    Lost,
    Unsupported,
    Value,
    aligned,
    channels_last,
    replaced,
    rows,
)

DT = 1e-4
"""Seconds of a time step, as in SpikingJelly and snnTorch."""
VIEWS = frozenset(
    [
        *("alias", "clone", "contiguous", "detach", "expand", "flatten", "mT", "movedim", "permute", "reshape"),
        *("select", "slice", "squeeze", "swapaxes", "t", "to", "transpose", "unflatten", "unsqueeze", "view"),
        *("_unsafe_view", "dropout", "identity"),
    ]
)
"""Operators that move values, or in evaluation pass them on."""
LISTS = frozenset(["unbind", "split", "chunk", "split_with_sizes"])


@dataclass
class Converted:
    """Nodes and edges, what NIR cannot say, and the traced tensors that inputs and outputs stand for."""

    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    lacking: dict[str, list[str]] = field(default_factory=dict)
    """By layer, the operators that NIR does not have."""
    entered: dict[str, fx.Node] = field(default_factory=dict)
    left: dict[str, tuple[fx.Node, Value]] = field(default_factory=dict)


class Converter:
    """Walks a traced graph for inputs of ``batch`` samples and ``steps`` time steps."""

    def __init__(self, specs: Mapping[str, IntegrateAndFire | None], steps: int, batch: int) -> None:
        import nir

        self.nir, self.specs, self.steps, self.batch = nir, specs, steps, batch
        self.result = Converted()
        self.producers: dict[str, fx.Node] = {}
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

    def add(self, node: fx.Node, kind: str, nir_node: Any, sources: tuple[str, ...], suffix: str = "") -> str:
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

    # Walking the graph.

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
                self._leave(node)  # it goes on outside of the graph
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
            name = self.add(lost.node, "Input", made, (), ".out")
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

    def leave(self, node: fx.Node, source: fx.Node, value: Value, suffix: str) -> str:
        """The value as an output of the graph, which stands for the traced tensor of ``source``."""
        if len(value.sources) > 1:  # some readers do not add at an output
            ones = np.ones(value.shape, np.float32)
            value = self.of(value, self.add(node, "Scale", self.nir.Scale(scale=ones), value.sources, ".sum"))
        made = self.nir.Output(output_type={"output": np.array(value.shape)})
        name = self.add(node, "Output", made, value.sources, suffix)
        self.result.left[name] = (source, value)
        return name

    def _output(self, node: fx.Node) -> None:
        [source] = node.all_input_nodes
        value = self.values[source]
        if isinstance(value, Value):
            name = self.leave(node, source, value, "")
            self.rename(name, "logits")

    def rename(self, old: str, new: str) -> None:
        """Give an output another name."""
        result = self.result
        result.nodes[new] = result.nodes.pop(old)
        result.edges = [(new if a == old else a, new if b == old else b) for a, b in result.edges]
        result.left[new] = result.left.pop(old)

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

    # Making values.

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


def pointwise(c: Converter, node: fx.Node, x: Value, weight: Tensor, bias: Tensor | None, dim: int) -> Value:
    """W x + b along the channels at each position, or of all values of a sample."""
    out = len(weight)
    offset = _array(torch.zeros(out) if bias is None else bias)
    numbers = x.numbers.movedim(dim, -1)
    flat = numbers[..., :1] + torch.arange(x.size)
    if numbers.shape[-1] == x.size and torch.equal(numbers, flat) and not (numbers[..., 0] % x.size).any():
        if len(x.shape) > 1:
            made = c.nir.Flatten(input_type={"input": np.array(x.shape)}, start_dim=0, end_dim=-1)
            x = c.of(x, c.add(node, "Flatten", made, x.sources, ".flatten"))
        name = c.add(node, "Affine", c.nir.Affine(weight=_array(weight), bias=offset), x.sources)
        made_numbers = numbers[..., :1] // x.size * out + torch.arange(out)
        return c.of(x, name, (out,), made_numbers.movedim(-1, dim))
    sample, position = channels_last(x, dim)
    positions = math.prod(x.shape[1:])
    name = c.add(node, "Conv", _convolution(c, _array(weight), offset, x.shape[1:]), x.sources)
    made_numbers = sample[..., None] * (out * positions) + torch.arange(out) * positions + position[..., None]
    return c.of(x, name, (out, *x.shape[1:]), made_numbers.movedim(-1, dim))


def _convolution(
    c: Converter, weight: np.ndarray, bias: np.ndarray, positions: tuple[int, ...], groups: int = 1
) -> Any:
    """A convolution of kernel 1."""
    if len(positions) == 1:
        return c.nir.Conv1d(positions[0], weight[..., None], 1, 0, 1, groups, bias)
    if len(positions) == 2:
        return c.nir.Conv2d(positions, weight[..., None, None], (1, 1), (0, 0), (1, 1), groups, bias)
    raise Unsupported(f"a layer on {len(positions)} dimensions")


def convolution(
    c: Converter,
    node: fx.Node,
    x: Any,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """One- and two-dimensional convolutions."""
    x = _value(x)
    dims = weight.dim() - 2
    pairs = [[one] * dims if isinstance(one, int) else list(one) for one in (stride, dilation)]
    stride, dilation = ([one[0]] * dims if len(one) == 1 else one for one in pairs)
    if not isinstance(padding, str):
        padding = [padding] * dims if isinstance(padding, int) else list(padding)
        padding = padding * dims if len(padding) == 1 else padding
    plain = groups == 1 and math.prod(weight.shape[2:]) == 1 and stride == [1] * dims and not _any(padding)
    if plain:
        return pointwise(c, node, x, weight.flatten(1), bias, 1)
    row = rows(x)
    offset = _array(torch.zeros(len(weight)) if bias is None else bias)
    if dims == 1 and len(x.shape) == 2:
        pad = padding if isinstance(padding, str) else padding[0]
        made = c.nir.Conv1d(x.shape[1], _array(weight), stride[0], pad, dilation[0], groups, offset)
    elif dims == 2 and len(x.shape) == 3:
        pad = padding if isinstance(padding, str) else tuple(padding)
        made = c.nir.Conv2d(x.shape[1:], _array(weight), tuple(stride), pad, tuple(dilation), groups, offset)
    else:
        raise Unsupported(f"a convolution of {dims} dimensions")
    name = c.add(node, "Conv", made, x.sources)
    shape = tuple(node.meta["val"].shape[1:])
    return c.of(x, name, shape, replaced(row, shape))


def linear(c: Converter, node: fx.Node, x: Any, weight: Tensor, bias: Tensor | None = None) -> Value:
    """W x + b; of values side by side the sum of a layer for each."""
    if not isinstance(x, Joined):
        return pointwise(c, node, _value(x), weight, bias, -1)
    if x.stacked or x.dim not in (-1, x.parts[0].numbers.dim() - 1):
        raise Unsupported("values side by side along another dimension than the channels")
    shares = weight.split([part.numbers.shape[-1] for part in x.parts], dim=1)
    total: Value | None = None
    for part, share in zip(x.parts, shares, strict=True):
        one = pointwise(c, node, part, share, bias if total is None else None, -1)
        total = one if total is None else add(c, node, total, one)
    assert total is not None
    return total


def batch_norm(
    c: Converter,
    node: fx.Node,
    x: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    var: Tensor,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    """x g / s + (h - m g / s): part of the convolution before it, or a convolution of each channel."""
    x = _value(x)
    if training or mean is None:
        raise Unsupported("batch norm by the statistics of the batch")
    channels_last(x, 1)
    scale = (var.double() + eps).rsqrt() * (1 if weight is None else weight.double())
    shift = (0 if bias is None else bias.double()) - mean.double() * scale
    if (name := c.foldable(node, x)) is not None:
        before = c.result.nodes[name]
        kernel = torch.as_tensor(before.weight).double()
        before.weight = _array(kernel * scale.reshape(-1, *[1] * (kernel.dim() - 1)))
        before.bias = _array(torch.as_tensor(before.bias).double() * scale + shift)
        c.producers[name] = node
        return x
    if len(x.shape) == 1:
        made: Any = c.nir.Affine(weight=_array(torch.diag(scale)), bias=_array(shift))
    else:
        made = _convolution(c, _array(scale[:, None]), _array(shift), x.shape[1:], len(scale))
    return c.of(x, c.add(node, "Conv", made, x.sources))


def neuron_layer(c: Converter, node: fx.Node, x: Any, name: str) -> Value:
    """A layer of integrate-and-fire neurons.

    A neuron that fires at the threshold itself has as threshold the number before it, as NIR's fires above.
    """
    x, spec = _value(x), c.specs[name.removeprefix("model.")]
    if spec is None:
        raise Unsupported("a neuron that is not leaky or plain integrate-and-fire with a reset to zero")
    lead = x.numbers // x.size
    expected = torch.arange(c.batch)[None] + (0 if x.static else torch.arange(c.steps)[:, None] * c.batch)
    if lead.dim() < 2 or not torch.equal(
        lead, expected.reshape(-1, c.batch, *[1] * (lead.dim() - 2)).expand_as(lead)
    ):
        raise Unsupported("a neuron layer without time steps and samples in front")
    full = np.ones(x.shape, np.float32)
    threshold = np.float32(spec.threshold)
    if spec.fires_at_threshold:
        threshold = np.nextafter(threshold, np.float32(-np.inf), dtype=np.float32)
    common = {"v_threshold": full * threshold, "v_reset": full * np.float32(0)}
    if spec.tau is None:
        made: Any = c.nir.IF(r=full * np.float32(1 / DT), **common)
    else:
        made = c.nir.LIF(tau=full * np.float32(spec.tau * DT), r=full, v_leak=full * np.float32(0), **common)
    added = c.add(node, "LIF", made, x.sources)
    numbers = x.numbers
    if x.static:
        steps = torch.arange(c.steps).reshape(-1, *[1] * (numbers.dim() - 1))
        numbers = numbers + steps * c.batch * x.size
    return Value((added,), x.shape, numbers)


def add(c: Converter, node: fx.Node, x: Any, y: Any, *, alpha: float = 1) -> Value:
    """x + alpha y: edges of both into the next node."""
    if not isinstance(y, Value) or not isinstance(x, Value):
        raise Unsupported("a sum with a constant")
    y = scaled(c, node, y, alpha) if alpha != 1 else y
    x, y = _as_tokens(c, node, x, y), _as_tokens(c, node, y, x)
    if set(x.sources) & set(y.sources):
        y = scaled(c, node, y, 1.0)
    numbers, static = aligned(x, y, c.batch)
    return Value(x.sources + y.sources, x.shape, numbers, static)


def _as_tokens(c: Converter, node: fx.Node, x: Value, other: Value) -> Value:
    """Images ``[D, H, W]`` as tokens ``[D, H W]`` where the other value has tokens."""
    if len(x.shape) != 3 or other.shape != (x.shape[0], math.prod(x.shape[1:])):
        return x
    made = c.nir.Flatten(input_type={"input": np.array(x.shape)}, start_dim=1, end_dim=2)
    return c.of(x, c.add(node, "Flatten", made, x.sources, ".flatten"), other.shape)


def scaled(c: Converter, node: fx.Node, x: Any, factor: Any) -> Value:
    """x times a number."""
    if isinstance(factor, Tensor) and factor.numel() == 1:
        factor = float(factor)
    if not isinstance(x, Value) or not isinstance(factor, int | float) or x.mean:
        raise Unsupported("a product of two signals")
    full = np.full(x.shape, factor, np.float32)
    return c.of(x, c.add(node, "Scale", c.nir.Scale(scale=full), x.sources, ".scale"))


def divided(c: Converter, node: fx.Node, x: Any, divisor: Any) -> Value:
    """x over a number."""
    return scaled(c, node, x, 1 / divisor if isinstance(divisor, int | float) and divisor else divisor)


def joined(c: Converter, node: fx.Node, parts: Any, dim: int = 0) -> Any:
    """Values side by side."""
    return _joined(parts, dim, False)


def stacked(c: Converter, node: fx.Node, parts: Any, dim: int = 0) -> Any:
    """Values along a new dimension."""
    return _joined(parts, dim, True)


def _joined(parts: Any, dim: int, stacked: bool) -> Any:
    if not all(isinstance(part, Value) for part in parts):
        raise Unsupported("signals side by side")
    return parts[0] if len(parts) == 1 and not stacked else Joined(list(parts), dim, stacked)


def total(c: Converter, node: fx.Node, x: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """The sum of stacked values."""
    if not isinstance(x, Joined) or not x.stacked or dims is None or list(dims) != [x.dim] or keepdim:
        raise Unsupported("a sum over a dimension")
    result = x.parts[0]
    for part in x.parts[1:]:
        result = add(c, node, result, part)
    return result


def mean(c: Converter, node: fx.Node, x: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """The mean over all positions, a pooling; or the mean over time steps of the output."""
    x = _value(x)
    numbers = x.numbers
    found = sorted(dim % numbers.dim() for dim in ([dims] if isinstance(dims, int) else dims or []))
    if found == [0] and not x.static and numbers.shape[0] == c.steps and numbers.dim() > 1 and not keepdim:
        period = torch.arange(c.steps).reshape(-1, *[1] * (numbers.dim() - 1)) * c.batch * x.size
        if torch.equal(numbers, numbers[:1] + period):
            return Value(x.sources, x.shape, numbers[0], mean=True)
    positions = math.prod(x.shape[1:])
    last = numbers.movedim(found, list(range(-len(found), 0))).flatten(-len(found)) if found else numbers[..., :0]
    ordered = last.sort(-1).values
    if last.shape[-1] != positions or not torch.equal(ordered, ordered[..., :1] + torch.arange(positions)):
        raise Unsupported("a mean over something else than all positions or all time steps")
    if (ordered[..., 0] % positions).any():
        raise Unsupported("a mean over something else than all positions or all time steps")
    if len(x.shape) == 3:
        window = np.array(x.shape[1:])
        made: Any = c.nir.AvgPool2d(kernel_size=window, stride=window, padding=np.array([0, 0]))
    elif len(x.shape) == 2:
        kernel = np.full((x.shape[0], 1, positions), 1 / positions, np.float32)
        made = c.nir.Conv1d(positions, kernel, positions, 0, 1, x.shape[0], np.zeros(x.shape[0], np.float32))
    else:
        raise Unsupported("a mean over a dimension")
    name = c.add(node, "Pool", made, x.sources, ".mean")
    result = ordered[..., 0] // positions
    if keepdim:
        for dim in found:
            result = result.unsqueeze(dim)
    return c.of(x, name, (x.shape[0], *[1] * (len(x.shape) - 1)), result)


def average_pooling(
    c: Converter,
    node: fx.Node,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Value:
    """The mean over windows."""
    x = _value(x)
    sizes = [_pair(one) for one in (kernel, stride or kernel, padding)]
    if ceil_mode or divisor is not None or (sizes[2].any() and not count_include_pad):
        raise Unsupported("average pooling with ceil_mode, divisor_override or without the padding")
    return _pooled(c, node, x, *sizes)


def adaptive_pooling(c: Converter, node: fx.Node, x: Any, size: Any) -> Value:
    """The mean over windows of equal size."""
    x = _value(x)
    out = _pair(size)
    if len(x.shape) != 3 or (np.array(x.shape[1:]) % out).any():
        raise Unsupported("adaptive pooling with windows of several sizes")
    window = np.array(x.shape[1:]) // out
    return _pooled(c, node, x, window, window, _pair(0))


def _pooled(c: Converter, node: fx.Node, x: Value, *sizes: np.ndarray) -> Value:
    row = rows(x)
    made = c.nir.AvgPool2d(kernel_size=sizes[0], stride=sizes[1], padding=sizes[2])
    name = c.add(node, "Pool", made, x.sources)
    shape = tuple(node.meta["val"].shape[1:])
    return c.of(x, name, shape, replaced(row, shape))


def _value(x: Any) -> Value:
    if not isinstance(x, Value):
        raise Unsupported("signals side by side")
    if x.mean:
        raise Unsupported("a layer on the mean over time steps")
    return x


def _array(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy().copy()


def _pair(size: Any) -> np.ndarray:
    given = [size] if isinstance(size, int) else list(size)
    return np.array(given * 2 if len(given) == 1 else given)


def _any(padding: Any) -> bool:
    return padding == "same" or (not isinstance(padding, str) and any(padding))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _leaves(one)]
    return [leaf for one in value.values() for leaf in _leaves(one)] if isinstance(value, dict) else [value]


LAYERS = frozenset(
    ["conv1d", "conv2d", "linear", "batch_norm", "neuron_layer", "avg_pool2d", "adaptive_avg_pool2d"]
)
"""Operators for which the graph takes up again what was computed outside of it."""
OPERATORS: dict[str, Callable[..., Any]] = {
    "conv1d": convolution,
    "conv2d": convolution,
    "linear": linear,
    "batch_norm": batch_norm,
    "neuron_layer": neuron_layer,
    "add": add,
    "add_": add,
    "mul": scaled,
    "div": divided,
    "cat": joined,
    "stack": stacked,
    "sum": total,
    "mean": mean,
    "avg_pool2d": average_pooling,
    "adaptive_avg_pool2d": adaptive_pooling,
}
NAMES = {
    "max_pool2d": "max pooling",
    "matmul": "a product of two signals",
    "bmm": "a product of two signals",
    "layer_norm": "layer norm",
    "wrap_with_autocast": "a product of two signals",
    "softmax": "softmax",
}
"""What an operator is called in messages, where its own name says less."""

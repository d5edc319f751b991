"""The operators that NIR can express: each makes the nodes of one call in a traced model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from scmrl_plugins.export.nir.graph import Graph
from scmrl_plugins.export.nir.values import (
    Joined,
    Unsupported,
    Value,
    aligned,
    channels_last,
    replaced,
    rows,
)

DT = 1e-4
"""Seconds of a time step, as in SpikingJelly and snnTorch."""


def pointwise(c: Graph, node: fx.Node, x: Value, weight: Tensor, bias: Tensor | None, dim: int) -> Value:
    """W x + b along the channels at each position, or of all values of a sample."""
    out = len(weight)
    offset = _array(torch.zeros(out) if bias is None else bias)
    numbers = x.numbers.movedim(dim, -1)
    flat = numbers[..., :1] + torch.arange(x.size)
    if numbers.shape[-1] == x.size and torch.equal(numbers, flat) and not (numbers[..., 0] % x.size).any():
        if len(x.shape) > 1:
            made = c.nir.Flatten(input_type={"input": np.array(x.shape)}, start_dim=0, end_dim=-1)
            x = c.of(x, c.add(node, made, x.sources, ".flatten"))
        name = c.add(node, c.nir.Affine(weight=_array(weight), bias=offset), x.sources)
        made_numbers = numbers[..., :1] // x.size * out + torch.arange(out)
        return c.of(x, name, (out,), made_numbers.movedim(-1, dim))
    sample, position = channels_last(x, dim)
    positions = math.prod(x.shape[1:])
    name = c.add(node, _convolution(c, _array(weight), offset, x.shape[1:]), x.sources)
    made_numbers = sample[..., None] * (out * positions) + torch.arange(out) * positions + position[..., None]
    return c.of(x, name, (out, *x.shape[1:]), made_numbers.movedim(-1, dim))


def _convolution(
    c: Graph, weight: np.ndarray, bias: np.ndarray, positions: tuple[int, ...], groups: int = 1
) -> Any:
    """A convolution of kernel 1."""
    if len(positions) == 1:
        return c.nir.Conv1d(positions[0], weight[..., None], 1, 0, 1, groups, bias)
    if len(positions) == 2:
        return c.nir.Conv2d(positions, weight[..., None, None], (1, 1), (0, 0), (1, 1), groups, bias)
    raise Unsupported(f"a layer on {len(positions)} dimensions")


def convolution(
    c: Graph,
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
        if not isinstance(padding, str):
            weight, padding = _squared(weight, padding, dilation)
        pad = padding if isinstance(padding, str) else tuple(padding)
        made = c.nir.Conv2d(x.shape[1:], _array(weight), tuple(stride), pad, tuple(dilation), groups, offset)
    else:
        raise Unsupported(f"a convolution of {dims} dimensions")
    name = c.add(node, made, x.sources)
    shape = tuple(node.meta["val"].shape[1:])
    return c.of(x, name, shape, replaced(row, shape))


def _squared(weight: Tensor, padding: list[int], dilation: list[int]) -> tuple[Tensor, list[int]]:
    """The same convolution with a square kernel, with zeros around the other one, where these are symmetric.

    NIR's check of types takes the height of a kernel for its width.
    """
    side = max(weight.shape[2:])
    further = [side - size for size in weight.shape[2:]]
    if any(extra % 2 for extra in further):
        return weight, padding
    top, left = (extra // 2 for extra in further)
    wider = [padding[0] + top * dilation[0], padding[1] + left * dilation[1]]
    return torch.nn.functional.pad(weight, (left, left, top, top)), wider


def linear(c: Graph, node: fx.Node, x: Any, weight: Tensor, bias: Tensor | None = None) -> Value:
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
    c: Graph,
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
    return c.of(x, c.add(node, made, x.sources))


def neuron_layer(c: Graph, node: fx.Node, x: Any, name: str) -> Value:
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
    added = c.add(node, made, x.sources)
    numbers = x.numbers
    if x.static:
        steps = torch.arange(c.steps).reshape(-1, *[1] * (numbers.dim() - 1))
        numbers = numbers + steps * c.batch * x.size
    return Value((added,), x.shape, numbers)


def add(c: Graph, node: fx.Node, x: Any, y: Any, *, alpha: float = 1) -> Value:
    """x + alpha y: edges of both into the next node."""
    if not isinstance(y, Value) or not isinstance(x, Value):
        raise Unsupported("a sum with a constant")
    y = scaled(c, node, y, alpha) if alpha != 1 else y
    x, y = _as_tokens(c, node, x, y), _as_tokens(c, node, y, x)
    if set(x.sources) & set(y.sources):
        y = scaled(c, node, y, 1.0)
    numbers, static = aligned(x, y, c.batch)
    return Value(x.sources + y.sources, x.shape, numbers, static)


def _as_tokens(c: Graph, node: fx.Node, x: Value, other: Value) -> Value:
    """Images ``[D, H, W]`` as tokens ``[D, H W]`` where the other value has tokens."""
    if len(x.shape) != 3 or other.shape != (x.shape[0], math.prod(x.shape[1:])):
        return x
    made = c.nir.Flatten(input_type={"input": np.array(x.shape)}, start_dim=1, end_dim=2)
    return c.of(x, c.add(node, made, x.sources, ".flatten"), other.shape)


def scaled(c: Graph, node: fx.Node, x: Any, factor: Any) -> Value:
    """x times a number."""
    if isinstance(factor, Tensor) and factor.numel() == 1:
        factor = float(factor)
    if not isinstance(x, Value) or not isinstance(factor, int | float) or x.mean:
        raise Unsupported("a product of two signals")
    full = np.full(x.shape, factor, np.float32)
    return c.of(x, c.add(node, c.nir.Scale(scale=full), x.sources, ".scale"))


def divided(c: Graph, node: fx.Node, x: Any, divisor: Any) -> Value:
    """x over a number."""
    return scaled(c, node, x, 1 / divisor if isinstance(divisor, int | float) and divisor else divisor)


def joined(c: Graph, node: fx.Node, parts: Any, dim: int = 0) -> Any:
    """Values side by side."""
    return _joined(parts, dim, False)


def stacked(c: Graph, node: fx.Node, parts: Any, dim: int = 0) -> Any:
    """Values along a new dimension."""
    return _joined(parts, dim, True)


def _joined(parts: Any, dim: int, stacked: bool) -> Any:
    if not all(isinstance(part, Value) for part in parts):
        raise Unsupported("signals side by side")
    return parts[0] if len(parts) == 1 and not stacked else Joined(list(parts), dim, stacked)


def total(c: Graph, node: fx.Node, x: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """The sum of stacked values."""
    if not isinstance(x, Joined) or not x.stacked or dims is None or list(dims) != [x.dim] or keepdim:
        raise Unsupported("a sum over a dimension")
    result = x.parts[0]
    for part in x.parts[1:]:
        result = add(c, node, result, part)
    return result


def mean(c: Graph, node: fx.Node, x: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
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
    name = c.add(node, made, x.sources, ".mean")
    result = ordered[..., 0] // positions
    if keepdim:
        for dim in found:
            result = result.unsqueeze(dim)
    return c.of(x, name, (x.shape[0], *[1] * (len(x.shape) - 1)), result)


def average_pooling(
    c: Graph,
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


def adaptive_pooling(c: Graph, node: fx.Node, x: Any, size: Any) -> Value:
    """The mean over windows of equal size."""
    x = _value(x)
    out = _pair(size)
    if len(x.shape) != 3 or (np.array(x.shape[1:]) % out).any():
        raise Unsupported("adaptive pooling with windows of several sizes")
    window = np.array(x.shape[1:]) // out
    return _pooled(c, node, x, window, window, _pair(0))


def _pooled(c: Graph, node: fx.Node, x: Value, *sizes: np.ndarray) -> Value:
    row = rows(x)
    made = c.nir.AvgPool2d(kernel_size=sizes[0], stride=sizes[1], padding=sizes[2])
    name = c.add(node, made, x.sources)
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

"""The operations of one product: a convolution or a matrix product, counted connection by connection.

A connection is a pair of factors. It costs nothing if one of them is zero; min(|n|, |m|) accumulates if both are
integers n and m; |n| accumulates if only one is an integer n; and one multiply-accumulate if both are graded.
Values of 2^24 and more count as graded, as every such float is an integer, and weights do.

Besides, a product has the traffic of Lemaire et al. 2022 (arXiv 2210.13107): additions, multiplications, and
accesses to memories with their sizes in words. Take a layer with Ci input and Co output channels, a kernel of
k = kh kw weights and stride s. An input that is an integer n is |n| events.

- An event is read, with Co k weights, and reads and writes as many potentials. It adds Co ceil(kh/s) ceil(kw/s)
  times. Its addresses take Co k additions and, where k > 1, two multiply-accumulates.
- A graded input takes the multiply-accumulates of its connections. Each reads a weight and, where k > 1, the
  input, which is read once otherwise. Addresses take Ci Hi Wi + Co Ho Wo + Co k additions for each image with a
  graded input or, where k = 1, Ci + Co for each row with one.
- Each output reads and adds a bias, that of the batch norm folded into the weights.

A 1x1 convolution is a linear layer of each pixel. Of a product of two activations, for which there is no published
rule, each operation reads both factors and adds once for their address, and each result is written once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

WHOLE = 2**24
"""From here on every float of single precision is an integer."""

Counts = dict[str, int]


@dataclass(frozen=True)
class Setting:
    """What a product is part of: a batch of ``samples`` over ``steps``, by neurons with a ``membrane`` or not.

    ``dense``: count it as if all its factors were graded and none zero.
    """

    samples: int
    steps: int
    membrane: bool = True
    dense: bool = False

    def per_step(self, values: int, rows: int) -> int:
        """How many of ``values`` belong to a sample and step; rows that do not repeat over time have one step."""
        every = self.samples * self.steps
        return max(1, values // (self.samples if rows % every else every))


class Factors(NamedTuple):
    """The values of one side of a product; none where there are no such values."""

    whole: Tensor | None
    """The magnitudes of the integers, 0 elsewhere."""
    graded: Tensor | None
    """1 where the value is graded, 0 elsewhere."""
    spikes: bool = False
    """Whether all integers are 0, 1 or -1."""

    @property
    def some(self) -> Tensor | None:
        """1 where an integer is not 0."""
        return self.whole if self.whole is None or self.spikes else _where(self.whole, torch.gt, 0)


def factors(x: Tensor, dense: bool = False) -> Factors:
    """The values of x; with ``dense`` as if all were graded."""
    if dense:
        return Factors(None, torch.ones_like(x))
    x = x.float() if x.element_size() < 4 else x
    spikes = _where(x, torch.ne, 0)
    if torch.equal(spikes, x):
        return Factors(spikes, None, spikes=True)
    magnitude = x.abs()
    whole = _where(magnitude, torch.eq, magnitude.round()).mul_(_where(magnitude, torch.lt, WHOLE))
    graded = 1 - whole
    magnitude = magnitude.masked_fill_(whole == 0, 0)
    return Factors(magnitude, graded if graded.any() else None, spikes=not bool((magnitude > 1).any()))


def _where(x: Tensor, compare: Any, other: Any) -> Tensor:
    """1 where it compares, 0 elsewhere, as numbers: booleans are slow to add up."""
    return compare(x, other, out=torch.empty_like(x))


def _sums(x: Tensor) -> Tensor:
    """The sums over the rows: ``[R, *] -> [*]``, in the order of the memory, which is much faster."""
    strides = x.stride()
    order = sorted(range(1, x.dim()), key=lambda dim: -strides[dim])
    moved = x.permute(0, *order)
    summed = moved.flatten(1).sum(0).view(moved.shape[1:])
    return summed.permute([order.index(dim) for dim in range(1, x.dim())])


def _dot(x: Tensor | None, fan: Tensor) -> int:
    """sum_r sum(x[r] fan), exactly: ``x [R, *], fan [*]``."""
    return 0 if x is None else int((_sums(x).cpu().double() * fan.cpu().double()).sum())


def _rows(graded: Tensor | None) -> int:
    """How many rows have a graded value."""
    return 0 if graded is None else int(graded.flatten(1).amax(1).sum())


def _total(x: Tensor | None) -> int:
    return 0 if x is None else int(_sums(x).cpu().double().sum())


def events(x: Tensor) -> int:
    """sum |n| over the integers n in x, and the number of graded values."""
    given = factors(x)
    return _total(given.whole) + _total(given.graded)


def weighted(x: Tensor, weight: Tensor, setting: Setting) -> Counts:
    """``x [R, K] @ weight [K, M]``, where R are the rows of all samples, steps and tokens."""
    rows, inputs = x.shape
    outputs = weight.shape[1]
    fan = weight.count_nonzero(1) if not setting.dense else torch.full((inputs,), outputs)
    given = factors(x, setting.dense)
    macs = _dot(given.graded, fan)
    taps = _total(given.whole) * outputs
    counted = {
        "dense": rows * inputs * outputs,
        "effective": macs + _dot(given.some, fan),
        "macs": macs,
        "acs": _dot(given.whole, fan),
    }
    return counted | _traffic(
        setting,
        events=_total(given.whole),
        taps=taps,
        additions=taps,
        macs=macs,
        inputs=_total(given.graded),
        addresses=_rows(given.graded) * (inputs + outputs),
        results=rows * outputs,
        sizes=(setting.per_step(x.numel(), rows), weight.numel(), outputs, rows * outputs),
        rows=rows,
    )


@dataclass(frozen=True)
class Convolution:
    """How a convolution is applied, in the order of torch's arguments."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int

    def pointwise(self, weight: Tensor) -> bool:
        """Whether it is a linear layer of each pixel."""
        return not self.transposed and self.groups == 1 and not any(self.padding) and weight[0, 0].numel() == 1

    def fan(self, shape: torch.Size, weight: Tensor, out: torch.Size) -> Tensor:
        """How many weights other than zero each value of an image meets, ``[C, *]``: padding meets none."""
        found, *_ = torch.ops.aten.convolution_backward(
            torch.ones(1, *out, dtype=torch.float64),
            torch.zeros(1, *shape, dtype=torch.float64),
            (weight != 0).cpu().double(),
            None,
            self.stride,
            self.padding,
            self.dilation,
            self.transposed,
            self.output_padding,
            self.groups,
            [True, False, False],
        )
        return found[0]


def convolution(x: Tensor, weight: Tensor, out: Tensor, how: Convolution, setting: Setting) -> Counts:
    """``weight * x``: ``x [R, C, *]``, where R are the images of all samples and steps."""
    if how.pointwise(weight):
        index: tuple[Any, ...] = (..., *(slice(None, None, step) for step in how.stride))
        kept = x[index]
        return weighted(kept.movedim(1, -1).flatten(0, -2), weight.flatten(1).mT, setting)
    channels = weight.shape[1] if how.transposed else len(weight) // how.groups
    # The channels are alike where no weight is zero.
    one = dataclasses.replace(how, groups=1)
    every = channels * one.fan(
        torch.Size([1, *x.shape[2:]]), torch.ones_like(weight[:1, :1]), torch.Size([1, *out.shape[2:]])
    )
    fan = every if setting.dense or bool(weight.all()) else how.fan(x.shape[1:], weight, out.shape[1:])
    given = factors(x, setting.dense)
    macs, acs = _dot(given.graded, fan), _dot(given.whole, fan)
    events = _total(given.whole)
    kernel = weight[0, 0].numel()
    strided = math.prod(
        math.ceil(size / (1 if how.transposed else step))
        for size, step in zip(weight.shape[2:], how.stride, strict=True)
    )
    counted = {
        "dense": len(x) * x.shape[1] * int(every.sum()),
        "effective": macs + _dot(given.some, fan),
        "macs": macs,
        "acs": acs,
    }
    image = x[0].numel() + out[0].numel() + out.shape[1] * kernel
    return counted | _traffic(
        setting,
        events=events,
        taps=events * channels * kernel,
        additions=events * channels * strided,
        macs=macs,
        inputs=macs,
        addresses=_rows(given.graded) * image,
        results=out.numel(),
        sizes=(x[0].numel(), weight.numel(), out.shape[1], out.numel()),
        rows=len(x),
        positions=2 * events,
    )


def _traffic(
    setting: Setting,
    *,
    events: int,
    taps: int,
    additions: int,
    macs: int,
    inputs: int,
    addresses: int,
    results: int,
    sizes: tuple[int, int, int, int],
    rows: int,
    positions: int = 0,
) -> Counts:
    """The traffic of a weighted layer. ``sizes``: inputs of a step, weights, biases, outputs of all rows."""
    of_inputs, of_weights, of_biases, outputs = sizes
    of_outputs = setting.per_step(outputs, rows)
    written = 0 if setting.membrane else results
    return {
        "adds": additions + results + macs + taps + addresses + positions,
        "muls": macs + positions,
        "accesses": events + inputs + taps + macs + results + 2 * taps + written,
        "words": (taps + macs) * of_weights + results * of_biases + 2 * taps * of_outputs,
        "activation_words": inputs * of_inputs + written * of_outputs,
    }


def of_activations(a: Tensor, b: Tensor, setting: Setting) -> Counts:
    """``a [*, N, K] @ b [*, K, M]``, neither of which is made of weights alone."""
    rows = math.prod(a.shape[:-1])
    left, right = factors(a, setting.dense), factors(b, setting.dense)
    macs = _pairs(left.graded, right.graded)
    acs = _pairs(left.whole, right.graded) + _pairs(left.graded, right.whole) + _least(left, right)
    results = rows * b.shape[-1]
    effective = macs + sum(
        _pairs(one, other)
        for one, other in ((left.some, right.some), (left.some, right.graded), (left.graded, right.some))
    )
    done = macs + acs
    size_a = setting.per_step(a.numel(), rows)
    size_b, size_out = setting.per_step(b.numel(), rows), setting.per_step(results, rows)
    return {
        "dense": rows * a.shape[-1] * b.shape[-1],
        "effective": effective,
        "macs": macs,
        "acs": acs,
        "attention": effective,
        "adds": 2 * done,
        "muls": macs,
        "accesses": 2 * done + results,
        "activation_words": done * (size_a + size_b) + results * size_out,
    }


def _pairs(a: Tensor | None, b: Tensor | None) -> int:
    """The sum over all pairs of the products of factors that are not negative."""
    return 0 if a is None or b is None else int((a.sum(-2).cpu().double() * b.sum(-1).cpu().double()).sum())


def _least(left: Factors, right: Factors) -> int:
    """The sum of min(n, m) over all pairs: sum_j (v[j] - v[j-1]) 1[n >= v[j]] 1[m >= v[j]], v all values."""
    a, b = left.whole, right.whole
    if left.spikes or right.spikes or a is None or b is None:
        return _pairs(left.some, right.some)
    highest = min(float(a.max()), float(b.max()))
    found, below = 0, 0.0
    for level in torch.cat([a.unique(), b.unique()]).unique().tolist():
        if 0 < level <= highest:
            found += round(level - below) * _pairs(_where(a, torch.ge, level), _where(b, torch.ge, level))
            below = level
    return found

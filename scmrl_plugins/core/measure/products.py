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
from typing import Any

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


def factors(x: Tensor, dense: bool = False) -> tuple[Tensor, Tensor]:
    """The magnitudes of the integers in x, 0 elsewhere, and where x is graded."""
    if dense:
        return torch.zeros_like(x), torch.ones_like(x, dtype=torch.bool)
    magnitude = x.float().abs() if x.element_size() < 4 else x.abs()
    whole = (magnitude == magnitude.round()) & (magnitude < WHOLE)
    return magnitude.where(whole, 0), ~whole


def _dot(values: Tensor, fan: Tensor) -> int:
    """sum(values fan), exactly."""
    return int((values.cpu().double() * fan.cpu().double()).sum())


def weighted(x: Tensor, weight: Tensor, setting: Setting) -> Counts:
    """``x [R, K] @ weight [K, M]``, where R are the rows of all samples, steps and tokens."""
    rows, inputs = x.shape
    outputs = weight.shape[1]
    fan = weight.count_nonzero(1) if not setting.dense else torch.full((inputs,), outputs)
    whole, graded = factors(x, setting.dense)
    some = graded.sum(0)
    macs, acs = _dot(some, fan), _dot(whole.sum(0), fan)
    events = int(whole.sum(0).cpu().double().sum())
    counted = {
        "dense": rows * inputs * outputs,
        "effective": macs + _dot((whole > 0).sum(0), fan),
        "macs": macs,
        "acs": acs,
    }
    return counted | _traffic(
        setting,
        events=events,
        taps=events * outputs,
        additions=events * outputs,
        macs=macs,
        inputs=int(some.sum()),
        addresses=int(graded.any(1).sum()) * (inputs + outputs),
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
    whole, graded = factors(x, setting.dense)
    macs, acs = _dot(graded.sum(0), fan), _dot(whole.sum(0), fan)
    events = int(whole.sum(0).cpu().double().sum())
    kernel = weight[0, 0].numel()
    strided = math.prod(
        math.ceil(size / (1 if how.transposed else step))
        for size, step in zip(weight.shape[2:], how.stride, strict=True)
    )
    counted = {
        "dense": len(x) * x.shape[1] * int(every.sum()),
        "effective": macs + _dot((whole > 0).sum(0), fan),
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
        addresses=int(graded.flatten(1).any(1).sum()) * image,
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
    whole_a, graded_a = factors(a, setting.dense)
    whole_b, graded_b = factors(b, setting.dense)

    def pairs(of_a: Tensor, of_b: Tensor) -> int:
        return _dot(of_a.sum(-2), of_b.sum(-1))

    macs = pairs(graded_a, graded_b)
    acs = pairs(whole_a, graded_b) + pairs(graded_a, whole_b) + _least(whole_a, whole_b, pairs)
    results = rows * b.shape[-1]
    effective = pairs(a != 0, b != 0) if not setting.dense else macs
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


def _least(a: Tensor, b: Tensor, pairs: Any) -> int:
    """The sum of min(n, m) over all pairs: sum_j (v[j] - v[j-1]) 1[n >= v[j]] 1[m >= v[j]], v all values."""
    if not a.numel() or not b.numel():
        return 0
    highest = min(float(a.max()), float(b.max()))
    levels = [1.0]
    if highest > 1:  # not only spikes
        levels = [value for value in torch.cat([a.unique(), b.unique()]).unique().tolist() if 0 < value <= highest]
    found, below = 0, 0.0
    for level in levels:
        found += round(level - below) * pairs(a >= level, b >= level)
        below = level
    return found

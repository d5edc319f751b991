"""Where each element of a tensor in the traced model is from: which step, sample and output of a NIR node."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx


class Unsupported(Exception):  # noqa: N818  it is caught where the operator is named
    """NIR has no such operator; the message says which."""


@dataclass(frozen=True)
class Value:
    """A tensor whose elements are those of the sum of some nodes, ``[T, B, *shape]``.

    An element has the number (t B + b) |shape| + s. ``numbers`` has that of each element of the tensor, so that a
    view, a transposition or an expansion of the tensor is the same of its numbers.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    numbers: Tensor
    static: bool = False
    """Whether all steps are equal; t is then 0 in all numbers."""
    mean: bool = False
    """Whether it is the mean over time steps, which only the output can be."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Lost:
    """A tensor that NIR cannot compute; the node of the traced model that does."""

    node: fx.Node


@dataclass(frozen=True)
class Joined:
    """Values side by side along a dimension, or, if ``stacked``, along a new one."""

    parts: list[Value]
    dim: int
    stacked: bool


def rows(value: Value) -> Tensor:
    """The step and sample of each row ``[n]`` of a tensor ``[n, *shape]`` of complete samples.

    Raises ``Unsupported`` for a tensor in another order.
    """
    if tuple(value.numbers.shape[1:]) != value.shape:
        raise Unsupported(f"a layer on {list(value.numbers.shape)} instead of images")
    flat = value.numbers.reshape(len(value.numbers), -1)
    first = flat[:, 0]
    if (first % value.size).any() or not torch.equal(flat, first[:, None] + torch.arange(value.size)):
        raise Unsupported("a layer on reordered values")
    return first // value.size


def replaced(row: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The numbers of ``[n, *shape]``, complete samples with this step and sample in each row."""
    size = math.prod(shape)
    return (row[:, None] * size + torch.arange(size)).reshape(len(row), *shape)


def channels_last(value: Value, dim: int) -> tuple[Tensor, Tensor]:
    """Of a tensor with all channels along ``dim``: step and sample, and position, each ``[*]`` without ``dim``.

    Raises ``Unsupported`` where the dimension is another.
    """
    numbers = value.numbers.movedim(dim, -1)
    positions = math.prod(value.shape[1:])
    first = numbers[..., 0]
    along = torch.arange(numbers.shape[-1]) * positions
    if numbers.shape[-1] != value.shape[0] or not torch.equal(numbers, first[..., None] + along):
        raise Unsupported("a layer along another dimension than the channels")
    if (first // positions % value.shape[0]).any():
        raise Unsupported("a layer along another dimension than the channels")
    return first // value.size, first % positions


def aligned(one: Value, other: Value, batch: int) -> tuple[Tensor, bool]:
    """The numbers of a sum of two values, and whether it is static; ``Unsupported`` unless they go together."""
    if one.shape != other.shape or one.mean or other.mean:
        raise Unsupported("a sum of values of other shapes")
    if one.numbers.shape != other.numbers.shape:
        raise Unsupported("a sum of values of other shapes")
    samples = batch * one.size
    first, second = one.numbers, other.numbers
    if one.static or other.static:
        fits = torch.equal(first % samples, second % samples)
    else:
        fits = torch.equal(first, second)
    if not fits:
        raise Unsupported("a sum of values in another order")
    return (second if one.static else first), one.static and other.static

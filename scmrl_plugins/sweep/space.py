"""The space of a sweep: an axis per setting, and the points of a grid or of a random search."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.core.run import series
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.kinds import TABLE

Point = dict[str, Any]
"""Dotted settings and their values, ``{"train.lr": 0.003}``."""

LARGEST = 10_000
"""The largest number of points; more are taken for a mistake."""
_ATTEMPTS = 1000
_EXAMPLE = '"train.lr" = { log_uniform = [1e-4, 1e-2] } or "fusion.alpha" = [0.5, 1.0]'


class Range(ComponentConfig):
    """One range of values, both ends included."""

    uniform: list[float] | None = Field(None, min_length=2, max_length=2)
    log_uniform: list[float] | None = Field(None, min_length=2, max_length=2)
    integer: list[int] | None = Field(None, min_length=2, max_length=2)
    log_integer: list[int] | None = Field(None, min_length=2, max_length=2)

    @model_validator(mode="after")
    def _one_range(self) -> Range:
        ranges = {name: ends for name, ends in self if ends is not None}
        if len(ranges) != 1:
            raise ValueError(f"write one range, such as {{ log_uniform = [1e-4, 1e-2] }}; there are {len(ranges)}")
        ((name, (low, high)),) = ranges.items()
        if not low < high:
            raise ValueError(f"{name} = [{low}, {high}]: the first must be less than the second")
        if name.startswith("log") and low <= 0:
            raise ValueError(f"{name} = [{low}, {high}]: a range of logarithms must be above 0")
        return self

    def at(self, share: float) -> float | int:
        """The quantile of a share in [0, 1), rounded to few digits."""
        if self.integer:
            low, high = self.integer
            return min(high, low + math.floor(share * (high - low + 1)))
        if self.log_integer:
            low, high = self.log_integer
            return min(high, math.floor(low * ((high + 1) / low) ** share))
        if self.uniform:
            start, end = self.uniform
            return _short(start + share * (end - start), start, end, end - start)
        assert self.log_uniform
        start, end = self.log_uniform
        value = start * (end / start) ** share
        return _short(value, start, end, min(value, end - start))


def _short(value: float, low: float, high: float, scale: float) -> float:
    """``value`` rounded to four digits of ``scale``, within the range."""
    return min(high, max(low, float(round(value, 3 - math.floor(math.log10(scale))))))


@dataclass(frozen=True)
class Axis:
    """The values of one setting: a list or a range."""

    key: str
    values: tuple[Any, ...] = ()
    range: Range | None = None

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1) of the axis."""
        return self.range.at(share) if self.range else self.values[math.floor(share * len(self.values))]

    def describe(self) -> Any:
        """The axis as its file writes it."""
        return self.range.model_dump(exclude_none=True) if self.range else list(self.values)


def read_axes(space: Any, source: str | Path) -> list[Axis]:
    """The axes of a section ``[space]``; ``UserError`` if it is invalid."""
    if not isinstance(space, Mapping):
        raise UserError(f"{source}: space must be a section, like [space] {_EXAMPLE}")
    return [_axis(key, value, source) for key, value in _flat(space, "")]


def consistent(axes: Sequence[Axis], source: str | Path) -> list[Axis]:
    """The axes; ``UserError`` if there are none, or two of them set the same key."""
    if not axes:
        raise UserError(f"{source}: [space] is empty: write what to try, like {_EXAMPLE}")
    for one, other in itertools.permutations([axis.key for axis in axes], 2):
        if f"{one}.".startswith(f"{other}."):
            raise UserError(f"{source}: space: {other} and {one} set the same thing; leave one of them out")
    return list(axes)


def _flat(space: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted settings: in TOML ``train.lr = [...]`` is a nested table, ``"train.lr" = [...]`` is not."""
    for name, value in space.items():
        key = f"{prefix}{name}"
        kind = TABLE.get(key.partition(".")[0])
        section = key.count(".") < (2 if kind and kind.repeats else 1)
        if section and isinstance(value, Mapping) and not value.keys() & Range.model_fields.keys():
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _axis(key: str, value: Any, source: str | Path) -> Axis:
    if not all(key.split(".")):
        raise UserError(f"{source}: space: {key!r} is not a setting; write one like {_EXAMPLE}")
    if isinstance(value, Mapping):
        return Axis(key, range=series.checked(Range, value, source, f"space.{key}"))
    if not isinstance(value, list):
        raise UserError(
            f"{source}: space.{key}: write a list of values or a range, like {_EXAMPLE}; values that "
            f"all trials share go to the section [{key.split('.')[0]}]"
        )
    if not value:
        raise UserError(f"{source}: space.{key}: the list is empty; add a value or leave the setting out")
    if len({_text(item) for item in value}) < len(value):
        raise UserError(f"{source}: space.{key}: a value is listed twice; list each once")
    return Axis(key, tuple(value))


def grid(axes: Sequence[Axis], source: str | Path) -> list[Point]:
    """Every combination, the last axis varying fastest; ``UserError`` if an axis is a range."""
    for axis in axes:
        if axis.range:
            raise UserError(
                f"{source}: space.{axis.key}: a grid needs a list of values, not a range; write one, or "
                f"sweep.search = 'random'"
            )
    count = math.prod(len(axis.values) for axis in axes)
    if count > LARGEST:
        raise UserError(f"{source}: the grid has {count} trials, more than {LARGEST}; try fewer values of each")
    return [
        dict(zip([axis.key for axis in axes], values, strict=True))
        for values in itertools.product(*(axis.values for axis in axes))
    ]


def draw(axes: Sequence[Axis], count: int, seed: int, source: str | Path) -> list[Point]:
    """``count`` random points, all different.

    A value depends only on the seed, the number of the point and the name of the setting; a point that exists
    already is drawn again. So raising ``count`` adds points and keeps the others. Raises ``UserError`` if the
    space has too few points.
    """
    points: list[Point] = []
    drawn: set[str] = set()
    for number in range(count):
        for attempt in range(_ATTEMPTS):
            point = {axis.key: axis.at(_share(seed, number, attempt, axis.key)) for axis in axes}
            if _text(point) not in drawn:
                break
        else:
            raise UserError(
                f"{source}: sweep.trials = {count}: the space has hardly more than {number} different points; "
                f"reduce the number of trials, or run all with sweep.search = 'grid'"
            )
        drawn.add(_text(point))
        points.append(point)
    return points


def _share(*words: object) -> float:
    """A number in [0, 1) determined by the words."""
    digest = hashlib.sha256(json.dumps(words).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def nested(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point as sections of a configuration."""
    sections: dict[str, Any] = {}
    for key, value in point.items():
        *parents, last = key.split(".")
        into = sections
        for parent in parents:
            into = into.setdefault(parent, {})
        into[last] = value
    return sections

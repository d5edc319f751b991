"""Accuracy as a function of how much the inputs are corrupted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.evaluate import Evaluation
from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.registry import UserError

MOST = 100
"""Points of a curve."""
CLEANEST, NOISIEST = 200.0, -200.0
"""Decibels beyond which signal or noise vanish."""


@dataclass(frozen=True)
class Point:
    """The accuracy at an amount of a corruption, with its interval where there is one."""

    amount: float
    accuracy: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        limits = f" ({self.interval[0]:.2%} to {self.interval[1]:.2%})" if self.interval else ""
        return f"{self.accuracy:.2%}{limits}"

    def as_dict(self, name: str) -> dict[str, Any]:
        """For JSON, the amount under ``name``."""
        interval = list(self.interval) if self.interval else None
        return {name: self.amount, "accuracy": self.accuracy, "interval": interval}


def ratios(text: str) -> list[float]:
    """The signal-to-noise ratios of ``START:STOP:STEP``, in dB, both ends included; a single number is one ratio.

    Raises ``UserError`` for anything else, for ratios that are not from -200 to 200, and for more than ``MOST``.
    """
    words = text.split(":")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(NOISIEST <= number <= CLEANEST for number in numbers):
        raise UserError(f"--snr {text}: give START:STOP:STEP in dB from -200 to 200, such as 0:20:5")
    if len(numbers) == 1:
        return numbers
    start, stop, step = numbers
    if not step or (stop - start) / step < 0:
        raise UserError(f"--snr {text}: steps of {step:g} do not lead from {start:g} to {stop:g}")
    count = math.floor((stop - start) / step + 1e-9) + 1
    if count > MOST:
        raise UserError(f"--snr {text}: {count:,} ratios are more than {MOST}: take a larger step")
    return [start + index * step for index in range(count)]


def affected(modality: str) -> tuple[str, ...]:
    """The modalities that ``audio``, ``visual`` or ``both`` stands for."""
    return tuple(MODALITIES) if modality == "both" else (modality,)


def noisy(base: Disturbance, modality: str, ratio: float) -> Disturbance:
    """``base`` with noise at this ratio on ``audio``, ``visual`` or ``both``."""
    noise: dict[Any, float] = {**base.noise, **dict.fromkeys(affected(modality), ratio)}
    return base.model_copy(update={"noise": noise})


def hidden(base: Disturbance, modality: str, share: float) -> Disturbance:
    """``base`` with this share of ``audio``, ``visual`` or ``both`` occluded."""
    occlusion: dict[Any, float] = {**base.occlusion, **dict.fromkeys(affected(modality), share)}
    return base.model_copy(update={"occlusion": occlusion})


def curve(
    evaluated: Callable[[Disturbance], Evaluation], conditions: Iterable[tuple[float, Disturbance]]
) -> list[Point]:
    """A point for each amount with its corruption, ``evaluated`` one after another."""
    points = []
    for amount, disturbance in conditions:
        result = evaluated(disturbance)
        interval = result.interval
        limits = (interval.low, interval.high) if interval else None
        points.append(Point(amount, float(result.metrics["accuracy"]), limits))
    return points


def snr_curve(
    evaluated: Callable[[Disturbance], Evaluation],
    modality: str,
    decibels: Sequence[float],
    base: Disturbance,
) -> list[Point]:
    """The accuracy at each signal-to-noise ratio of ``audio``, ``visual`` or ``both``, on top of ``base``."""
    return curve(evaluated, ((ratio, noisy(base, modality, ratio)) for ratio in decibels))

"""Our model against the same model as published, in two processes that take turns."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from scmrl_plugins.bench.speed.settings import BASELINE, OURS, SMALL, Settings
from scmrl_plugins.bench.speed.worker import start
from scmrl_plugins.bench.spread import alike, doublings, spread
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import allocator
from scmrl_plugins.core.system.child import Child
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import catalogue

PROFILED = 15
"""Operators in a profile."""
STEPS, TOKENS = (4, 8, 16, 32), (1024, 2048, 4096)
"""The sizes over which the cost is measured."""


def run(
    settings: Settings, device: str, progress: Progress, *, scaling: bool = False, profile: bool = False
) -> dict[str, Any]:
    """Time, memory and first loss of both variants, and their ratios, baseline / ours.

    ``train``, ``inference`` and ``kernel`` hold the seconds of every round; ``inference_folded`` those of ours
    with batch norm folded, as ``scmrl eval --optimize`` does it, against the same baseline. Raises ``UserError``
    for sizes that do not fit together, and for a process that ended.
    """
    settings.check()  # before any process starts
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(side(name, settings, device)) for name in (BASELINE, OURS)}
        progress.stage("warming up", 1)  # prints no line, so that a wrong size is the only one
        prepared = {name: child.call("prepare") for name, child in sides.items()}
        ours = sides[OURS]
        # In another layout convolutions round differently, and a single spike shows in the loss.
        in_one_layout = ours.call("first_loss", layout=settings.config(BASELINE).model.layout)
        progress.line(f"{settings.repeats} rounds of training steps, inference and the neuron alone")
        ours.call("arithmetic")
        train = alternating({**_each(sides, "train"), "bare": (ours, "arithmetic")}, settings.repeats)
        ours.call("infer_folded")
        inference = alternating({**_each(sides, "infer"), "folded": (ours, "infer_folded")}, settings.repeats)
        profiled = ours.call("profile", rows=PROFILED) if profile else None
        for child in sides.values():
            child.call("kernel")
        kernel = alternating(_each(sides, "kernel"), settings.repeats)
    results = _results(settings, device, prepared, train, inference, kernel, in_one_layout)
    if scaling:
        progress.line("scaling")
        results["scaling"] = _scaling(settings, device)
    if profiled is not None:
        results["profile"] = profiled
    return results


def side(variant: str, settings: Settings, device: str, *, compiled: bool = True) -> Child:
    """A process with the ``Worker`` of a variant; the baseline never compiles."""
    variables = {
        "OMP_NUM_THREADS": str(settings.threads),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        allocator.HUGE_PAGES: str(int(variant == OURS)),
    }
    if variant == BASELINE or not compiled:
        variables["SCMRL_COMPILE"] = "never"
    return Child(
        repr(variant),
        start,
        variant,
        settings,
        device,
        catalogue().inline_files(),
        environment=variables,
        remedy="if it ran out of memory, make --batch, --image-size, --dims or --steps smaller",
    )


def alternating(methods: Mapping[str, tuple[Child, str]], rounds: int) -> dict[str, list[float]]:
    """Seconds by name. Each method is called once a round, so that other load on the machine slows all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, (child, method) in methods.items():
            seconds[name].append(child.call(method))
    return seconds


def _each(sides: Mapping[str, Child], method: str) -> dict[str, tuple[Child, str]]:
    return {name: (child, method) for name, child in sides.items()}


def _results(
    settings: Settings,
    device: str,
    prepared: Mapping[str, Any],
    train: Mapping[str, list[float]],
    inference: Mapping[str, list[float]],
    kernel: Mapping[str, list[float]],
    in_one_layout: float,
) -> dict[str, Any]:
    bare = train["bare"]
    memory = {name: result["memory"] for name, result in prepared.items()}
    losses = {name: result["first_loss"] for name, result in prepared.items()}
    measured = {
        "train": versus(train),
        "inference": versus(inference),
        "inference_folded": versus({BASELINE: inference[BASELINE], OURS: inference["folded"]}),
        "memory": {**memory, "ratio": memory[BASELINE] / memory[OURS] if all(memory.values()) else None},
        "kernel": {"shape": list(settings.kernel_shape), **versus(kernel)},
    }
    return {
        **{f"{name}_ratio": result["ratio"] for name, result in measured.items()},
        "bare_ms": 1e3 * min(bare),
        "times_bare": min(train[OURS]) / min(bare),
        "compile_seconds": max(0.0, prepared[OURS]["first_step_seconds"] - statistics.median(train[OURS])),
        "first_losses": {**losses, "ours_channels_first": in_one_layout},
        "same_first_loss": alike(losses[BASELINE], in_one_layout),
        "parameters": prepared[OURS]["parameters"],
        "warnings": prepared[OURS]["warnings"],
        **measured,
        "bare": spread(bare),
        "settings": asdict(settings),
        "hardware": environment.hardware(device, prepared[OURS]["device_name"]),
        "environment": environment.describe(settings.config(OURS)),
    }


def versus(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The seconds of both variants, and the baseline's over ours: of the minima, and of the medians."""
    baseline, ours = spread(seconds[BASELINE]), spread(seconds[OURS])
    return {
        BASELINE: baseline,
        OURS: ours,
        "ratio": baseline["minimum"] / ours["minimum"],
        "median_ratio": baseline["median"] / ours["median"],
    }


def _scaling(settings: Settings, device: str) -> dict[str, Any]:
    """The cost of a small model's training step over time steps, and of fusion blocks alone over tokens."""
    small = replace(SMALL, fusion=settings.fusion, threads=settings.threads)
    # The compiler is used from a certain size on: without it all sizes run the same code.
    with side(OURS, small, device, compiled=False) as child:
        rounds = max(3, settings.repeats)
        fusions = dict.fromkeys(["cmrl", "cmqka", settings.fusion])
        return {
            "steps": doublings(STEPS, child.call("scale_steps", steps=STEPS, rounds=rounds)),
            "tokens": {
                name: doublings(TOKENS, child.call("scale_tokens", fusion=name, tokens=TOKENS, rounds=rounds))
                for name in fusions
            },
        }

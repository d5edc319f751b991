"""Our model against the same model as it was published, in one run: two processes that take turns."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scmrl_plugins.bench.speed.worker import Task, as_line
from scmrl_plugins.bench.spread import alike, doublings, spread
from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import allocator
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError, catalogue

BASELINE, OURS = "baseline", "ours"
NEURON = {"tau": 2.0, "threshold": 1.0, "surrogate": "sigmoid", "alpha": 4.0}
NEURONS = {BASELINE: {"name": "braincog:LIFNode", **NEURON}, OURS: {"name": "lif", **NEURON}}
PROFILED = 15
STEPS, TOKENS = (4, 8, 16, 32), (1024, 2048, 4096)


@dataclass(frozen=True)
class Settings:
    """What is compared, and how often."""

    fusion: str = "cmrl"
    batch: int = 8
    image_size: int = 128
    steps: int = 4
    dims: int = 256
    heads: int = 16
    threads: int = 2
    repeats: int = 5
    kernel_shape: Sequence[int] = (4, 8, 32, 128, 128)

    def config(self, variant: str) -> ExperimentConfig:
        """The configuration of ``baseline`` or ``ours``; ``UserError`` where a size cannot be."""
        sizes = {
            "steps": self.steps,
            "embed_dims": self.dims,
            "num_heads": self.heads,
            "image_size": self.image_size,
        }
        return layers.validate(
            {
                "neuron": NEURONS[variant],
                "fusion": {"name": self.fusion},
                "model": {**sizes, "layout": "channels-first"} if variant == BASELINE else sizes,
                "train": {"batch_size": self.batch, "lr": 5e-3 * self.batch / 1024},
            }
        )


SMALL = Settings(batch=2, image_size=32, dims=64, heads=4)
"""The model on which the cost is followed over time steps and tokens."""


class Side:
    """A process of its own that holds one variant: ``side.ask("train")`` is the seconds of a step there.

    Raises ``UserError``: the process's own, or one that says how it ended.
    """

    def __init__(self, variant: str, settings: Settings, device: str, compiled: bool = True) -> None:
        self.name = variant
        task = Task(
            config=settings.config(variant).model_dump(),
            device=device,
            threads=settings.threads,
            batch=settings.batch,
            kernel_shape=settings.kernel_shape,
            every_step=variant == BASELINE,
            keep_blocks=variant == OURS,
            plugins=catalogue().inline_files(),
        )
        surroundings = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "OMP_NUM_THREADS": str(settings.threads)}
        surroundings[allocator.HUGE_PAGES] = str(int(task.keep_blocks))
        if variant == BASELINE or not compiled:
            surroundings["SCMRL_COMPILE"] = "never"
        program = f"import sys; sys.path[:] = {sys.path!r}; from {Task.__module__} import main; main()"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=surroundings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            encoding="utf-8",
        )
        self._tell(as_line(task))
        self._ready = False

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *failed: object) -> None:
        """End the process and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._said, self._process.stdout:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(timeout=0 if any(failed) else 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def ask(self, command: str, **arguments: Any) -> Any:
        """What the process answers to a command."""
        if not self._ready:
            self._answer()  # to the task
            self._ready = True
        self._tell(as_line({"do": command, "with": arguments}))
        return self._answer()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: the answer, which is none, tells how
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError(self._end())
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer.get("value")

    def _end(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        said = lines[-1] if lines else "it said nothing"
        return (
            f"the process of {self.name!r} ended {how}: {said}; if that is for want of memory, make --batch, "
            "--image-size, --dims or --steps smaller"
        )


def run(
    settings: Settings, device: str, progress: Progress, *, scaling: bool = False, profile: bool = False
) -> dict[str, Any]:
    """Time, memory and first loss of both variants, and their ratios, baseline / ours.

    ``train``, ``inference`` and ``kernel`` hold the seconds of every round, and ``inference_folded`` those of ours
    with batch norm folded, as ``scmrl eval --optimize`` does, against the same baseline. Raises ``UserError`` for
    sizes that do not fit together, or a process that ended.
    """
    catalogue().get("fusion", settings.fusion)  # so that a wrong name is told before any process starts
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(Side(variant, settings, device)) for variant in (BASELINE, OURS)]
        progress.stage("warming up", 1)  # no line: what is wrong is found here, and told in one
        prepared = {side.name: side.ask("prepare") for side in sides}
        ours = sides[1]
        # In another layout convolutions round differently, and a spike more or less is seen in the loss.
        in_one_layout = ours.ask("first_loss", layout=settings.config(BASELINE).model.layout)
        progress.line(f"{settings.repeats} rounds of training steps, inference and the neuron alone")
        ours.ask("arithmetic")
        train = in_turns({**_each(sides, "train"), "bare": (ours, "arithmetic")}, settings.repeats)
        ours.ask("infer_folded")
        inference = in_turns({**_each(sides, "infer"), "folded": (ours, "infer_folded")}, settings.repeats)
        profiled = ours.ask("profile", rows=PROFILED) if profile else None
        for side in sides:
            side.ask("kernel")
        kernel = in_turns(_each(sides, "kernel"), settings.repeats)
    bare = train["bare"]
    memory = {side: told["memory"] for side, told in prepared.items()}
    results = {
        "train": versus(train),
        "inference": versus(inference),
        "inference_folded": versus({BASELINE: inference[BASELINE], OURS: inference["folded"]}),
        "memory": {**memory, "ratio": memory[BASELINE] / memory[OURS] if all(memory.values()) else None},
        "kernel": {"shape": list(settings.kernel_shape), **versus(kernel)},
    }
    losses = {name: told["first_loss"] for name, told in prepared.items()}
    found: dict[str, Any] = {
        **{f"{name}_ratio": result["ratio"] for name, result in results.items()},
        "bare_ms": 1e3 * min(bare),
        "times_bare": min(train[OURS]) / min(bare),
        "compile_seconds": max(0.0, prepared[OURS]["first_step_seconds"] - statistics.median(train[OURS])),
        "first_losses": {**losses, "ours_channels_first": in_one_layout},
        "same_first_loss": alike(losses[BASELINE], in_one_layout),
        "parameters": prepared[OURS]["parameters"],
        "warnings": prepared[OURS]["warnings"],
        **results,
        "bare": spread(bare),
        "settings": asdict(settings),
        "hardware": environment.hardware(device, prepared[OURS]["device_name"]),
        "environment": environment.describe(settings.config(OURS)),
    }
    if scaling:
        progress.line("scaling")
        found["scaling"] = _scaling(settings, device)
    if profiled is not None:
        found["profile"] = profiled
    return found


def in_turns(asked: Mapping[str, tuple[Side, str]], rounds: int) -> dict[str, list[float]]:
    """Seconds by name, each command asked once a round, so that what else the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, (side, command) in asked.items():
            seconds[name].append(side.ask(command))
    return seconds


def _each(sides: Sequence[Side], command: str) -> dict[str, tuple[Side, str]]:
    return {side.name: (side, command) for side in sides}


def versus(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Both sides' seconds, and the baseline's over ours: of the least, and of the medians."""
    baseline, ours = spread(seconds[BASELINE]), spread(seconds[OURS])
    return {
        BASELINE: baseline,
        OURS: ours,
        "ratio": baseline["minimum"] / ours["minimum"],
        "median_ratio": baseline["median"] / ours["median"],
    }


def _scaling(settings: Settings, device: str) -> dict[str, Any]:
    """The cost over time steps, of a small model's training step, and over tokens, of fusion blocks alone."""
    small = replace(SMALL, fusion=settings.fusion, threads=settings.threads)
    # The compiler takes over from some size on: without it, all sizes run the same code.
    with Side(OURS, small, device, compiled=False) as side:
        rounds = max(3, settings.repeats)
        fusions = dict.fromkeys(["cmrl", "cmqka", settings.fusion])
        return {
            "steps": doublings(STEPS, side.ask("scale_steps", steps=STEPS, rounds=rounds)),
            "tokens": {
                name: doublings(TOKENS, side.ask("scale_tokens", fusion=name, tokens=TOKENS, rounds=rounds))
                for name in fusions
            },
        }

"""Experiment trackers of accelerate, such as TensorBoard, in addition to ``metrics.jsonl``."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, TensorBoardTracker, get_available_trackers

from scmrl_plugins.core.measure.health import Show
from scmrl_plugins.core.measure.recording import Recording
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

LOCAL = "tensorboard"
"""The tracker that only writes files into the run directory, which already has the configuration."""
_NEURONS, _SIDE = 64, 128
"""Neurons of a raster, and pixels of a picture's side."""


class Trackers:
    """The trackers of a training, in its main process. ``UserError`` for one that is unknown or not installed.

    One that fails is left out from then on, with a warning: training continues without it.
    """

    def __init__(self, names: Sequence[str], accelerator: Accelerator, progress: Progress) -> None:
        check(names)
        self.names, self.main, self.progress = names, accelerator.is_main_process, progress
        self.started: list[Any] = []

    def start(self, run: Run, step: int) -> Show | None:
        """Start them; a resumed run continues after ``step``. ``UserError`` if one cannot.

        Returns what shows the recording of a sample, where a tracker shows images. TensorBoard's files are in
        ``RUN/tensorboard``. Other trackers also get the configuration, and are set up by their environment
        variables.
        """
        self.run = run
        threading.excepthook = _kept_by_writer
        arguments: dict[str, dict[str, Any]] = {LOCAL: {"purge_step": step + 1}}
        for name in self.names if self.main else ():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the trackers themselves
                made: Any = LOGGER_TYPE_TO_CLASS[name]
                folder = {"logging_dir": str(run.path)} if made.requires_logging_directory else {}
                title = LOCAL if name == LOCAL else run.path.resolve().name
                try:
                    tracker = made(title, **folder, **arguments.get(name, {}))
                    tracker.start()
                    if name != LOCAL:
                        tracker.store_init_configuration(_flat(run.config().model_dump(mode="json")))
                except Exception as error:  # any error of a service or its client
                    raise UserError(
                        f"train.trackers: {name!r} does not start ({_reason(error)}); fix this or remove it"
                    ) from error
            self.started.append(tracker)
        return self._show if any(isinstance(one, TensorBoardTracker) for one in self.started) else None

    def log(self, figures: Mapping[str, Any], step: int) -> None:
        """Pass on the numbers of a line of metrics; nested ones are named ``part/name``."""
        numbers = {key: value for key, value in _flat(figures).items() if isinstance(value, int | float)}
        self._each(lambda tracker: tracker.log(numbers, step=step))

    def close(self) -> None:
        """End them."""
        self._each(methodcaller("finish"))
        self.started = []

    def _show(self, recording: Recording, step: int) -> None:
        """Show a recording in TensorBoard.

        The spikes of every layer as a raster, neurons by time steps, and its attention, queries by keys, as the
        mean over time steps and heads; of the first sample of the batch, white at 0.
        """
        shown: dict[str, np.ndarray] = {}
        for name, spikes in recording.spikes.items():
            shown[f"raster/{name}"] = _image(spikes[:, 0].flatten(1).abs().float().cpu().numpy().T[:_NEURONS])
        for name, weights in recording.attention.items():
            shown[f"attention/{name}"] = _image(weights[:, 0].float().abs().mean((0, 1)).cpu().numpy())

        def show(tracker: Any) -> None:
            if isinstance(tracker, TensorBoardTracker):
                tracker.log_images(shown, step=step, dataformats="NHWC")

        self._each(show)

    def _each(self, call: Callable[[Any], object]) -> None:
        for tracker in list(self.started):
            try:
                call(tracker)
            except Exception as error:  # any error of a service or its client
                self.started.remove(tracker)
                if self.run.there():  # otherwise the training ends, and says so
                    reason = f"({_reason(error)}) and gets no more of this run"
                    self.progress.line(f"warning: train.trackers: {tracker.name!r} failed {reason}")


def check(names: Sequence[str]) -> None:
    """Raises ``UserError`` for an unknown tracker, or one whose package is not installed."""
    available = sorted(map(str, LOGGER_TYPE_TO_CLASS))
    installed = set(map(str, get_available_trackers()))
    for name in names:
        if name not in available:
            hint = near(name, available) or f"; trackers are {', '.join(available)}"
            raise UserError(f"train.trackers: no tracker {name!r}{hint}")
        if name not in installed:
            raise UserError(f"train.trackers: {name!r} is not installed: pip install {name}, or remove it")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _kept_by_writer(ended: threading.ExceptHookArgs) -> None:
    """No traceback of TensorBoard's writing thread, whose error is raised at the next call of the writer."""
    if not type(ended.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(ended)


def _image(values: np.ndarray) -> np.ndarray:
    """A matrix as a grey picture ``[1, H, W, 1]`` of at least about a hundred pixels a side, white at 0."""
    scaled = 1 - values / max(float(values.max()), 1e-12)
    factors = [max(1, _SIDE // size) for size in scaled.shape]
    return np.kron(scaled, np.ones(factors))[None, :, :, None].astype(np.float32)


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{key}/")
        else:
            flat[f"{before}{key}"] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat

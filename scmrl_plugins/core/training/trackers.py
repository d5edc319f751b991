"""Experiment trackers of accelerate, such as TensorBoard, in addition to ``metrics.jsonl``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, TensorBoardTracker, get_available_trackers

from scmrl_plugins.core.measure.health import Show
from scmrl_plugins.core.measure.recording import Recording
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

LOCAL = "tensorboard"
"""The tracker that only writes files into the run directory, which already has the configuration."""
_NEURONS, _SIDE = 64, 128
"""Neurons of a raster, and pixels of a picture's side."""


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


def start(accelerator: Accelerator, names: Sequence[str], run: Run, step: int) -> Show | None:
    """Send the metrics of ``accelerator.log`` to these trackers; a resumed run continues after ``step``.

    Returns what shows the recording of a sample, where a tracker shows images. TensorBoard's files are in
    ``RUN/tensorboard``. Other trackers also get the configuration, and are set up by their environment variables.
    """
    accelerator.trackers = []
    if not accelerator.is_main_process:
        return None
    arguments: dict[str, dict[str, Any]] = {LOCAL: {"purge_step": step + 1}}
    for name in names:
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
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(
                    f"train.trackers: {name!r} does not start ({reason}); fix this or remove it"
                ) from error
        accelerator.trackers.append(tracker)
    return _images(accelerator)


def scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics; nested ones are named ``part/name``."""
    return {key: value for key, value in _flat(figures).items() if isinstance(value, int | float)}


def _images(accelerator: Accelerator) -> Show | None:
    """What shows a recording in TensorBoard, if that is a tracker.

    The spikes of every layer as a raster, neurons by time steps, and its attention, queries by keys, as the mean
    over time steps and heads; of the first sample of the batch, white at 0.
    """
    boards = [tracker for tracker in accelerator.trackers if isinstance(tracker, TensorBoardTracker)]

    def show(recording: Recording, step: int) -> None:
        shown: dict[str, np.ndarray] = {}
        for name, spikes in recording.spikes.items():
            shown[f"raster/{name}"] = _image(spikes[:, 0].flatten(1).abs().float().cpu().numpy().T[:_NEURONS])
        for name, weights in recording.attention.items():
            shown[f"attention/{name}"] = _image(weights[:, 0].float().abs().mean((0, 1)).cpu().numpy())
        for board in boards:
            board.log_images(shown, step=step, dataformats="NHWC")

    return show if boards else None


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

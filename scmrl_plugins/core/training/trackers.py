"""What follows a run beside its own metrics: accelerate's trackers, such as TensorBoard."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

LOCAL = "tensorboard"
"""The one that only writes files, into the run; its configuration is there already."""


def check(names: Sequence[str]) -> None:
    """``UserError`` for a tracker that is not known, or whose package is not here."""
    known = sorted(map(str, LOGGER_TYPE_TO_CLASS))
    here = set(map(str, get_available_trackers()))
    for name in names:
        if name not in known:
            raise UserError(
                f"train.trackers: no tracker {name!r}{near(name, known) or '; known are ' + ', '.join(known)}"
            )
        if name not in here:
            raise UserError(f"train.trackers: {name!r} is not installed: pip install {name}, or leave it out")


def start(accelerator: Accelerator, names: Sequence[str], run: Run, step: int) -> None:
    """Have what ``accelerator.log`` is given go to these trackers; of a run that goes on, what follows this step.

    TensorBoard's files are in ``RUN/tensorboard``. Other trackers get the configuration too, and are set up by
    their own environment variables.
    """
    accelerator.trackers = []
    if not accelerator.is_main_process:
        return
    arguments: dict[str, dict[str, Any]] = {LOCAL: {"purge_step": step + 1}}
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about themselves
            made: Any = LOGGER_TYPE_TO_CLASS[name]
            folder = {"logging_dir": str(run.path)} if made.requires_logging_directory else {}
            title = LOCAL if name == LOCAL else run.path.resolve().name
            try:
                tracker = made(title, **folder, **arguments.get(name, {}))
                tracker.start()
                if name != LOCAL:
                    tracker.store_init_configuration(_flat(run.config().model_dump(mode="json")))
            except Exception as error:  # whatever a service or its client raises
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(
                    f"train.trackers: {name!r} does not start ({reason}); mend it or leave it out"
                ) from error
        accelerator.trackers.append(tracker)


def scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics, those of its parts by ``part/name``."""
    return {key: value for key, value in _flat(figures).items() if isinstance(value, int | float)}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{key}/")
        else:
            flat[f"{before}{key}"] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat

"""What the page and the endpoint tell about a sample."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import tempfile
import time
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.data.picture import colours_of
from scmrl_plugins.core.data.transform import collect_repairs
from scmrl_plugins.core.evaluation import alone
from scmrl_plugins.core.evaluation.evaluate import trained_precision
from scmrl_plugins.core.evaluation.predict import Predictor, rank
from scmrl_plugins.core.measure.firing import FiringRates
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import seeds
from scmrl_plugins.explain.inside import Example, examine, grid
from scmrl_plugins.registry import UserError

PIXELS = 256
"""The largest side of a picture in an answer."""
_DURATIONS = ("longest_sound", "longest_video")


class Answers:
    """A run that answers for files: the prediction of ``scmrl predict``, and how it comes about.

    ``seconds``: the longest recording that is read, where the data set limits that.
    """

    def __init__(self, run: Run, device: torch.device, seconds: float, *, convert: bool = True) -> None:
        parts = run.assemble()
        section = parts.config.dataset
        shorter = {name: min(seconds, section.options[name]) for name in _DURATIONS if name in section.options}
        limited = parts.config.model_copy(update={"dataset": section.model_copy(update=shorter)})
        self.parts = dataclasses.replace(parts, dataset=assembly.build_dataset(limited)[0])
        self.predictor = Predictor(self.parts, device, convert=convert)

    def warm_up(self) -> None:
        """Answer for noise, so that libraries are loaded and kernels compiled before the first client asks."""
        from PIL import Image

        rng = np.random.default_rng(0)
        with tempfile.TemporaryDirectory(prefix="scmrl-") as folder:
            sound, picture = Path(folder) / "audio", Path(folder) / "visual"
            with wave.open(str(sound), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16_000)
                file.writeframes(rng.integers(-9000, 9000, 16_000, dtype=np.int16).tobytes())
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(picture, format="PNG")
            with contextlib.suppress(UserError):  # of a data set that reads other files
                self.answer(sound, picture)

    def missing(self, audio: bool, visual: bool) -> str | None:
        """A modality that has to be sent, too; none if there is enough."""
        given = {name for name, there in (("audio", audio), ("visual", visual)) if there}
        return next((name for name in self.predictor.needed(given)), None)

    def answer(self, audio: Path | None, visual: Path | None, *, explain: bool = True) -> dict[str, Any]:
        """``predictions`` as of ``scmrl predict --json``, ``notes`` on what was repaired, and ``seconds``.

        With ``explain`` also ``alone``, ``attention``, ``grad_cam``, ``images`` and ``firing_rates``. Raises
        ``UserError`` for files that cannot be used.
        """
        started = time.perf_counter()
        with collect_repairs() as repairs:
            inputs = self.predictor.inputs(audio, visual)
        found: dict[str, Any] = {"predictions": self.predictor.classified(inputs)}
        if explain:
            found |= self._explained(inputs)
        found["notes"] = list(dict.fromkeys(repair.what for repair in repairs))
        found["seconds"] = round(time.perf_counter() - started, 4)
        return found

    def _explained(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        model, device = self.predictor.model, self.predictor.device
        complete = self.predictor.complete({name: x[None].to(device) for name, x in inputs.items()})
        with seeds.generators_kept(device), trained_precision(model, device), torch.no_grad():
            torch.manual_seed(0)
            with FiringRates(model) as firing:
                model(**complete)
            torch.manual_seed(0)
            logits, method = alone.alone(model, complete, self.parts.dataset.blank)
        example = examine(model, complete, None, "")
        shown = [name for name in example.inputs if name in inputs]
        return {
            "alone": {
                "method": method,
                "meaning": alone.METHODS.get(method, ""),
                **{
                    name: rank(model.classes, x[0].float().softmax(0))
                    for name, x in logits.items()
                    if name in inputs
                },
            },
            "attention": {name: _map(example, example.attention, name) for name in shown},
            "grad_cam": {name: _map(example, example.cams, name) for name in shown},
            "images": {name: _image(example, name) for name in shown},
            "firing_rates": firing.rates,
        }


def _flipped(example: Example, name: str) -> bool:
    """Whether row 0 is drawn at the bottom: the lowest frequency of a spectrogram."""
    return name == "audio" and example.inputs[name].ndim == 3


def _map(example: Example, maps: Mapping[str, np.ndarray], name: str) -> list[list[float]] | None:
    """A map over tokens as rows of a picture, from top to bottom; none where there is none, or it is no square."""
    cells = grid(maps[name]) if name in maps else None
    if cells is None:
        return None
    rows = cells[::-1] if _flipped(example, name) else cells
    return np.round(rows.astype(float), 4).tolist()


def _image(example: Example, name: str) -> str:
    """An input as a PNG in a data URL; of a sequence the middle step."""
    from PIL import Image

    x = example.inputs[name]
    image = x[len(x) // 2] if x.ndim == 4 else x
    step = max(1, -(-max(image.shape[-2:]) // PIXELS))
    image = image[..., ::step, ::step]
    colours = np.round(255 * colours_of(image, float(image.min()), float(image.max()))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours[::-1] if _flipped(example, name) else colours).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

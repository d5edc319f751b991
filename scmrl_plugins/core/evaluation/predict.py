"""Predictions of a trained model for individual files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.registry import UserError


@torch.no_grad()
def predict(
    parts: Assembly, audio: Path | None, visual: Path | None, device: torch.device, *, convert: bool = False
) -> list[dict[str, Any]]:
    """``[{"label", "probability"}, ...]``, the softmax of the logits, best first.

    Raises ``UserError`` for a missing modality, an unreadable file, or a file that does not match the training
    data (with ``convert`` it is resampled or resized).
    """
    inputs = file_inputs(parts, audio, visual, device, convert=convert)
    model = parts.model.to(device).eval()
    probabilities = model(**inputs).logits[0].softmax(0).tolist()
    ranked = sorted(zip(model.classes, probabilities, strict=True), key=lambda pair: -pair[1])
    return [{"label": label, "probability": probability} for label, probability in ranked]


def file_inputs(
    parts: Assembly, audio: Path | None, visual: Path | None, device: torch.device, *, convert: bool = False
) -> dict[str, Tensor]:
    """The model's inputs from a user's files, ``[1, ...]`` for each modality in use; raises like ``predict``."""
    model = parts.model
    given = {"audio": audio, "visual": visual}
    for name in model.modalities:
        if given[name] is None:
            raise UserError(f"fusion {model.config.fusion.name!r} needs {name}: give --{name} FILE")
    if audio != visual:  # of a video with its sound, both tell how long it lasts
        given = {name: given[name] if name in model.modalities else None for name in MODALITIES}
    row = parts.dataset.read(given["audio"], given["visual"], convert=convert)
    features = parts.dataset.transform({name: [value] for name, value in row.items()})
    stored = {name: np.asarray(column[0]) for name, column in features.items()}
    sample = parts.dataset.inputs(stored, False)
    return {name: torch.from_numpy(sample[name])[None].to(device) for name in model.modalities}

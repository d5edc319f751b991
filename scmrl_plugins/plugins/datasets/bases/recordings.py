"""Recordings of audio with images or videos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from scmrl_plugins.core.interfaces import MODALITIES, Modality, ModelConfig
from scmrl_plugins.plugins.datasets.bases.sound import SoundDataset
from scmrl_plugins.plugins.datasets.media.front_end import SoundConfig
from scmrl_plugins.plugins.datasets.media.picture import PictureConfig, PictureFrontEnd
from scmrl_plugins.plugins.datasets.media.read import read_bytes, source_of

VERSION = 3
"""Incremented when the result of ``transform`` changes."""


class RecordingsConfig(PictureConfig, SoundConfig):
    """Settings of all data sets of recordings."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits")
    validation: float = Field(0.1, gt=0, lt=1, description="share of training samples for validation")


class Recordings(SoundDataset):
    """Sounds and pictures: spectrograms ``[1, S, S]``, RGB ``[3, S, S]`` or ``[T, 3, S, S]``.

    S is the model's ``image_size``; ``FrontEnd`` computes the spectrograms, ``PictureFrontEnd`` the pictures. What
    does not depend on chance is stored, and the rest drawn each time a training sample is loaded.

    A subclass defines ``classes`` and ``splits``.
    """

    Config: ClassVar[type[RecordingsConfig]] = RecordingsConfig
    channels: Mapping[str, int] = {"audio": 1, "visual": 3}

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.pictures = PictureFrontEnd(self.config, model)

    @property
    def blank(self) -> Mapping[Modality, np.ndarray]:
        """Digital silence and a black picture, as the front ends show them."""
        return {**super().blank, "visual": self.pictures.blank}

    def transform_key(self) -> Mapping[str, Any]:
        """The settings and sizes that the stored arrays depend on."""
        return {"version": VERSION, **self.front_end.key(), **self.pictures.key()}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, list[np.ndarray]]:
        """Rows to ``audio``, float32 ``[1, S, S]``, and ``visual``, uint8 ``[frames, H, W, 3]``, as stored.

        A modality that is absent from all rows is left out. Raises ``BadFileError`` for a file that cannot be
        decoded, holds nothing, or is silent.
        """
        decoders = {"audio": self.front_end.decode, "visual": self.pictures.decode}
        return {
            name: [decoders[name](*source_of(cell, name)) for cell in rows[name]]
            for name in MODALITIES
            if any(cell is not None for cell in rows.get(name) or [])
        }

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        """The stored arrays of a sample to ``audio [1, S, S]`` and ``visual [3, S, S]`` or ``[T, 3, S, S]``."""
        result = {}
        if "audio" in stored:
            result["audio"] = self.front_end.inputs(stored["audio"], training)
        if "visual" in stored:
            result["visual"] = self.pictures.inputs(stored["visual"], training)
        return result

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        """One row from the user's files, ``{"audio": {"bytes", "path"}, "visual": ...}``; ``None`` if not given.

        Recordings of any sample rate and pictures or videos of any size are accepted, as in training. Raises
        ``UserError`` for files that are missing or empty.
        """
        return {
            name: {"bytes": read_bytes(Path(path), path), "path": str(path)} if path is not None else None
            for name, path in (("audio", audio), ("visual", visual))
        }

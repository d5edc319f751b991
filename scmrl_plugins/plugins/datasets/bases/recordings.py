"""Recordings of audio with images or videos."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from scmrl_plugins.core.interfaces import (
    MODALITIES,
    BadFileError,
    Contents,
    Files,
    Modality,
    ModelConfig,
    RepairedFileWarning,
    Span,
)
from scmrl_plugins.plugins.datasets.bases.content import Source, inspect
from scmrl_plugins.plugins.datasets.bases.sound import SoundDataset
from scmrl_plugins.plugins.datasets.files.folders import VIDEOS
from scmrl_plugins.plugins.datasets.files.unlabelled import WINDOW, find
from scmrl_plugins.plugins.datasets.files.window import Window, note_rest, split_window, windows_until
from scmrl_plugins.plugins.datasets.media import video
from scmrl_plugins.plugins.datasets.media.audio import encode_exactly
from scmrl_plugins.plugins.datasets.media.clip import RANDOM, ClipConfig, ClipReader, drawn_window, is_clip
from scmrl_plugins.plugins.datasets.media.front_end import SoundConfig
from scmrl_plugins.plugins.datasets.media.picture import PictureConfig, PictureFrontEnd
from scmrl_plugins.plugins.datasets.media.read import read_bytes, source_of
from scmrl_plugins.registry import UserError

ROUNDING = 0.01
"""Seconds by which the end of a video is uncertain."""
VERSION = 5
"""Incremented when the result of ``transform`` changes."""


class RecordingsConfig(PictureConfig, SoundConfig):
    """Settings of all data sets of recordings."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits")
    validation: float = Field(0.1, gt=0, lt=1, description="share of training samples for validation")
    align: Literal["clip", "step"] = Field(
        "clip",
        description="what a time step hears; clip: all of the sound; step: the step's part of it",
    )
    step_frame: Literal["striking", "middle"] = Field(
        "striking",
        description="what a time step sees (align = 'step'); striking: a frame that differs clearly from those "
        "around it, such as a flash, else the middle one; middle: the frame in the middle of the step",
        json_schema_extra={"before": "middle"},
    )
    clip: ClipConfig | None = Field(
        None, description="window of every clip, {start, seconds}; none: the complete clip"
    )
    audio_stream: int | None = Field(
        None,
        ge=0,
        description="which sound of a file with several, from 0; none: the one marked as default",
    )
    video_stream: int | None = Field(
        None,
        ge=0,
        description="which video of a file with several, from 0; none: the one marked as default",
    )


class Recordings(SoundDataset):
    """Sounds and pictures: spectrograms ``[1, S, S]``, RGB ``[3, S, S]``; of several steps ``[T, ...]``.

    S is the model's ``image_size``; ``FrontEnd`` computes the spectrograms, ``PictureFrontEnd`` the pictures. What
    does not depend on chance is stored, and the rest drawn each time a training sample is loaded.

    A subclass defines ``classes`` and ``splits``.
    """

    Config: ClassVar[type[RecordingsConfig]] = RecordingsConfig
    channels: Mapping[str, int] = {"audio": 1, "visual": 3}
    clip_endings = VIDEOS
    libraries = ("av", "PIL.Image", "scipy.signal")
    windows_in_table = False
    """Whether the data set's table may say where the windows are; its rows then have them."""

    def __init__(self, config: Any, model: ModelConfig) -> None:
        self.slices = model.steps if config.align == "step" else 1
        super().__init__(config, model)
        self.pictures = PictureFrontEnd(self.config, model, self.slices)
        self.clips = ClipReader(self.config, self.front_end, self.pictures)
        if config.clip and config.clip.columns and not self.windows_in_table:
            raise UserError(
                f"dataset.clip: {config.clip.columns[0]!r} names a column, but the data set has no table; "
                f"set start and seconds to numbers, or start to 'middle' or 'random'"
            )

    @property
    def blank(self) -> Mapping[Modality, np.ndarray]:
        """Digital silence and a black picture, as the front ends show them."""
        return {**super().blank, "visual": self.pictures.blank}

    def transform_key(self) -> Mapping[str, Any]:
        """The settings and sizes that the stored arrays depend on."""
        steps = {"step_frame"} if self.slices > 1 else set()
        settings = self.config.model_dump(include={"clip", "audio_stream", "video_stream", *steps})
        return {"version": VERSION, **settings, **self.front_end.key(), **self.pictures.key()}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, list[np.ndarray]]:
        """Rows to ``audio``, float32 ``[1, S, W]``, and ``visual``, uint8 ``[frames, H, W, 3]``, as stored.

        W is S, or T S where each step has its slice of sound. Where windows are drawn at random, each array has
        several, ``[n, ...]``. A modality that is absent from all rows is left out. Raises ``BadFileError`` for a
        file that cannot be decoded, holds nothing, or is silent.
        """
        names = [name for name in MODALITIES if any(cell is not None for cell in rows.get(name) or [])]
        samples = [
            self._decoded(dict(zip(names, cells, strict=True)))
            for cells in zip(*(rows[name] for name in names), strict=True)
        ]
        return {name: [sample[name] for sample in samples] for name in names}

    def inspect(self, row: Mapping[str, Any]) -> Contents:
        """Durations, rates, size and what looks wrong in the files of a row."""
        return inspect(
            *_sources({name: row[name] for name in MODALITIES if row.get(name) is not None}), self.config
        )

    def _decoded(self, cells: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The cells of a row to what is stored of them."""
        sources, window = _sources(cells)
        if window or self.config.clip or self.slices > 1 or is_clip(sources):
            return self.clips.decode(sources, window)
        result = {}
        if "audio" in sources:
            result["audio"] = self.front_end.decode(*sources["audio"], self.config.audio_stream)
        if "visual" in sources:
            result["visual"] = self.pictures.decode(*sources["visual"], self.config.video_stream)
        return result

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        """The stored arrays of a sample to ``audio [1, S, S]`` and ``visual [3, S, S]``, or ``[T, ...]``."""
        if self.config.clip and self.config.clip.start == RANDOM:
            stored = drawn_window(stored, training)
        result = {}
        if "audio" in stored:
            result["audio"] = self.front_end.inputs(stored["audio"], training)
        if "visual" in stored:
            result["visual"] = self.pictures.inputs(stored["visual"], training)
        return result

    def find(self, source: Path, bad: list[BadFileError]) -> Sequence[Files]:
        """The samples to classify in a folder or a table; its windows are in the columns that training had."""
        clip = self.config.clip
        return find(source, bad, (clip.start, clip.seconds) if clip and clip.columns else WINDOW)

    def part(
        self, audio: Path | None, visual: Path | None, window: Span, *, convert: bool = False
    ) -> dict[str, Any]:
        """One row of a part of the user's files, as of a window that a table has in training."""
        start, end = window
        return _row(Window(start, None if end is None else end - start), audio, visual)

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        """One row from the user's files, ``{"audio": {"bytes", "path"}, "visual": ...}``; ``None`` if not given.

        Recordings of any sample rate and pictures or videos of any size are accepted, as in training. Raises
        ``UserError`` for files that are missing or empty.
        """
        if self.config.clip and self.config.clip.columns:
            path = audio or visual
            warnings.warn(
                RepairedFileWarning(path, "used from start to end: the windows were in a table"), stacklevel=2
            )
        content = {path: read_bytes(path, path) for path in {audio, visual} - {None} if path is not None}
        return {
            name: {"bytes": content[path], "path": str(path)} if path is not None else None
            for name, path in (("audio", audio), ("visual", visual))
        }

    def windows(
        self, audio: Path | None, visual: Path | None, seconds: float, hop: float, *, convert: bool = False
    ) -> Iterator[tuple[float, float, dict[str, Any]]]:
        """Rows of parts of the user's files; of a video also its frames of that time."""
        if visual is not None and visual.suffix.lower() in VIDEOS:
            for window in self._windows_of_video(visual, seconds, hop):
                yield window.start, window.end, _row(window, audio, visual)
        else:
            picture = self.read(None, visual)["visual"] if visual is not None else None
            for start, heard in self.heard(audio or visual, seconds, hop):
                cell = {"bytes": encode_exactly(heard.samples, heard.rate), "path": str(audio)}
                yield start, heard.end, {"audio": cell, "visual": picture}

    def _windows_of_video(self, path: Path, seconds: float, hop: float) -> Iterator[Window]:
        end = video.expected_times(path, path, self.config.video_stream).end()
        if end < seconds + ROUNDING:
            yield Window(0.0, end)
            return
        count = windows_until(end, seconds, hop, ROUNDING)
        yield from (Window(index * hop, seconds) for index in range(count))
        note_rest(path, end, count, seconds, hop)


def _row(window: Window, audio: Path | None, visual: Path | None) -> dict[str, Any]:
    """The row of a window of files."""
    return {
        name: None if path is None else {"bytes": None, "path": window.of(path)}
        for name, path in (("audio", audio), ("visual", visual))
    }


def _sources(cells: Mapping[Any, Any]) -> tuple[dict[str, Source], Window | None]:
    """The bytes or the paths of the cells of a row, with names for messages, and the part of them that is used."""
    sources, window = {}, None
    for name, cell in cells.items():
        source, path = source_of(cell, name)
        path, window = split_window(path)
        sources[name] = (Path(path) if isinstance(source, Path) else source, path)
    return sources, window

"""The base class of data sets, and what they report about files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scmrl_plugins.core.interfaces.components import Component
from scmrl_plugins.core.interfaces.settings import MODALITIES, Modality
from scmrl_plugins.registry.errors import UserError

if TYPE_CHECKING:
    import datasets


class BadFileError(UserError):
    """A file of a data set that cannot be used: its path, and the reason, which ends with the remedy."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = str(path), " ".join(reason.split())

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class EmptySplitError(UserError):
    """A data set without samples for one of its splits; ``splits`` has the others, which ``data check`` reads."""

    def __init__(self, message: str, splits: Any) -> None:
        super().__init__(message)
        self.splits = splits


class RepairedFileWarning(UserWarning):
    """What ``transform`` repaired in a file that it could use, such as the sample rate of a recording.

    ``warnings.warn(RepairedFileWarning(path, what))``: ``scmrl data check`` lists them.
    """

    def __init__(self, path: object, what: str) -> None:
        super().__init__(path, what)
        self.path, self.what = str(path), what

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True)
class Contents:
    """What the files of a row hold, as ``Dataset.inspect`` finds it; none for what they do not have."""

    seconds: Mapping[Modality, float] = field(default_factory=dict)
    """Duration by modality; a picture has none."""
    sample_rate: int | None = None
    """Of the sound, in Hz."""
    frame_rate: float | None = None
    """Mean number of frames a second."""
    size: tuple[int, int] | None = None
    """Width and height of the picture in pixels."""
    notes: tuple[str, ...] = ()
    """What looks wrong though the files can be read, such as a still picture in a video."""


Span = tuple[float, float | None]
"""Start and end of a part of a file in seconds; the end is none where that is the end of the file."""


@dataclass(frozen=True)
class Files:
    """The files of one sample to classify, and its name; none for a modality without a file.

    ``window``: the part of the files that is used; none: all of them.
    """

    name: str
    audio: Path | None = None
    visual: Path | None = None
    window: Span | None = None


def cache_dir() -> Path:
    """The folder for data that can be built again: ``SCMRL_CACHE``, else ``~/.cache/scmrl``."""
    named = os.environ.get("SCMRL_CACHE", "").strip()
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "scmrl"


class Dataset(Component):
    """``(config, model) ->`` classes, Hugging Face splits, and the way from their rows to a model's inputs.

    Building one reads no file, so that a model can be assembled without the data. ``transform`` computes a row's
    arrays once, and they are stored; ``inputs`` computes the model's inputs from the stored arrays each time a
    sample is loaded. A row that ``transform`` refuses with a ``BadFileError`` stops the run or is left out, as
    ``data.on_bad`` says.
    """

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Sections of the configuration that this data set changes unless the user sets them, ``{"model": {...}}``."""
    classes: Sequence[str]
    """The names of the classes, in the order of their labels; empty where only the files tell, see ``settle``."""
    channels: Mapping[str, int]
    """Channels of each modality's inputs, ``{"audio": 1, "visual": 3}``."""

    clip_endings: frozenset[str] = frozenset()
    """Endings, in lower case, of files that may hold both modalities, such as ``.mp4``."""
    libraries: Sequence[str] = ()
    """Modules that ``transform`` imports: where processes are forked for it, they share those in memory."""
    spectrograms: ClassVar[bool] = True
    """Whether audio is a spectrogram, or one a step, with the lowest frequency in row 0: plots draw that below."""
    group_columns: Sequence[str] = ()
    """The names of further string columns of ``splits``, such as ``("speaker",)``, whose samples resemble one
    another. Accuracy is reported by group; the first column is the unit of sampling of intervals."""

    @property
    def blank(self) -> Mapping[Modality, np.ndarray]:
        """The model's input that stands for a missing modality, such as silence or a black picture.

        By modality, float32 ``[C, 1, 1]``, or any shape that broadcasts to ``[C, H, W]``. By default zeros.
        """
        return {name: np.zeros((self.channels[name], 1, 1), np.float32) for name in MODALITIES}

    @classmethod
    def settle(cls, config: Any) -> Any:
        """The configuration with what only the files can tell, such as the names of the classes.

        Called before the data set is built for work that needs the files or the classes. By default nothing is
        looked up.
        """
        return config

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Write a miniature of the data set's files into ``folder`` and return the options that read it.

        For tests: a few samples of each class in each split, made without a network.
        """
        raise NotImplementedError

    def splits(self) -> Mapping[str, datasets.Dataset | datasets.IterableDataset]:
        """``train``, ``validation`` and ``test`` with columns ``audio``, ``visual``, ``label`` and ``id``.

        A stream comes in a fixed order, not shuffled: training shuffles stored samples. Raises ``UserError`` where
        the files are not those that the data set expects.
        """
        raise NotImplementedError

    def bad_files(self) -> Sequence[BadFileError]:
        """The files that ``splits`` left out, such as a recording without its picture. By default none."""
        return ()

    def transform(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[np.ndarray] | np.ndarray]:
        """A batch of rows to ``audio`` and ``visual``, an array a row; without ``inputs`` float32 ``[C, H, W]``.

        Deterministic: the result is computed once and stored. Raises ``BadFileError`` for a row that cannot be
        used.
        """
        raise NotImplementedError

    def inspect(self, row: Mapping[str, Any]) -> Contents | None:
        """What the files of a row that ``transform`` accepts hold; ``None`` if nothing is known of them.

        ``scmrl data check`` warns of what looks wrong. Raises ``BadFileError`` for a file that cannot be read.
        """
        return None

    def transform_key(self) -> Mapping[str, Any] | None:
        """All that the result of ``transform`` depends on beside the row: settings and sizes by name.

        Stored arrays serve every configuration with the same key. Where rows come as a stream, the key also
        identifies the stream, whose rows are not compared. By default none: the data set's complete configuration
        and all sizes of the model.
        """
        return None

    def measure(self, samples: Iterable[Mapping[str, np.ndarray]]) -> Mapping[str, Any]:
        """Measure what ``inputs`` needs to know of the training split, keep it, and return it as settings.

        Called with the stored arrays of every training sample once they are prepared. A run keeps the settings in
        its configuration, with which the data set is built for evaluation; what is set is not measured again. By
        default nothing is measured.
        """
        return {}

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> Mapping[str, np.ndarray]:
        """A sample's stored arrays to ``audio`` and ``visual``, float32 ``[C, H, W]`` or ``[T, C, H, W]``.

        Random draws in training come from torch's generator, which is seeded for each sample and epoch. By default
        the stored arrays are the inputs.
        """
        return stored

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        """One row (columns ``audio``, ``visual``) from the user's files; ``UserError`` for bad ones.

        A file that does not fit, such as one of another sample rate or image size, is refused, or, with
        ``convert``, converted.
        """
        raise NotImplementedError

    def find(self, source: Path, bad: list[BadFileError]) -> Sequence[Files]:
        """The samples to classify in a folder, or in the rows of a table, in a fixed order; no class is needed.

        What is there but cannot be a sample goes to ``bad``. Raises ``UserError`` for a source that cannot be
        read; by default for any.
        """
        raise UserError(f"{source}: this data set lists no files to classify; give --audio and --visual")

    def part(
        self, audio: Path | None, visual: Path | None, window: Span, *, convert: bool = False
    ) -> dict[str, Any]:
        """One row as of ``read``, of a part of the user's files that ``find`` returned.

        Raises ``UserError`` as ``read`` does; by default for any files.
        """
        raise UserError("this data set does not read parts of files; remove the columns that name them")

    def windows(
        self, audio: Path | None, visual: Path | None, seconds: float, hop: float, *, convert: bool = False
    ) -> Iterator[tuple[float, float, dict[str, Any]]]:
        """Rows as of ``read``, of parts of the user's files, each with its start and end in seconds.

        The parts start every ``hop`` seconds and are complete; files that last less than ``seconds`` are one part.
        Raises ``UserError`` as ``read`` does; by default for any files.
        """
        raise UserError("this data set does not read parts of files; leave out --window")

"""Data sets whose samples are files in folders: a subclass lists them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from scmrl_plugins.core.interfaces import BadFileError, Dataset, EmptySplitError
from scmrl_plugins.plugins.datasets.bases.recordings import Recordings, RecordingsConfig
from scmrl_plugins.plugins.datasets.files.folders import root_folder
from scmrl_plugins.plugins.datasets.files.samples import Listing, to_rows

if TYPE_CHECKING:
    import datasets


class FileDataset(Dataset):
    """A data set whose rows name files. A subclass defines ``listing``."""

    def listing(self) -> Listing:
        """The samples of ``train``, ``validation`` and ``test``, and the files that are in none."""
        raise NotImplementedError

    @functools.cached_property
    def _listing(self) -> Listing:
        return self.listing()

    def splits(self) -> datasets.DatasetDict:
        """``train``, ``validation`` and ``test``, whose rows name the files; see ``listing``.

        Raises ``EmptySplitError`` where one of them would be empty.
        """
        rows = to_rows(self._listing.splits, self.classes, self.group_columns)
        if self._listing.lacking:
            raise EmptySplitError(self._listing.lacking, rows)
        return rows

    def bad_files(self) -> list[BadFileError]:
        """The files that are in no split; see ``listing``."""
        return self._listing.bad


class FileRecordingsConfig(RecordingsConfig):
    """Settings of every data set of recordings in a folder."""

    root: str | None = Field(None, description="folder of the data set")


class PhotographsConfig(FileRecordingsConfig):
    """Settings of data sets of photographs, which show the same when they are mirrored or cut."""

    crop_scale: tuple[float, float] = Field(
        (0.5, 1.0),
        strict=False,
        description="smallest and largest share of the picture in a training crop; published: [0.08, 1.0]",
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip in training")


class FileRecordings(FileDataset, Recordings):
    """Recordings in the files of a folder. A subclass defines ``classes`` and ``listing``."""

    Config: ClassVar[type[FileRecordingsConfig]] = FileRecordingsConfig

    def root(self) -> Path:
        """The data set's folder; ``UserError`` if it is not set or is not a folder."""
        return root_folder(
            self.config.root,
            needs="dataset.root is not set: set it to the folder that holds a copy of the data set",
            holds="that holds the data set",
        )

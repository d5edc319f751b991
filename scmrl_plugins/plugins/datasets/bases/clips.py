"""Data sets of clips of videos, whose names, classes and splits are in lists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.bases.files import FileRecordings, PhotographsConfig
from scmrl_plugins.plugins.datasets.files.clips import Clip, kept_apart, media_below, with_files
from scmrl_plugins.plugins.datasets.files.folders import unreadable, user_path
from scmrl_plugins.plugins.datasets.files.samples import Listing, Sample, checked_listing, first_bad
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.registry import UserError


class ClipsConfig(PhotographsConfig):
    """Settings of every data set of clips in lists."""

    split: Literal["by-video", "official"] = Field(
        "by-video",
        description="by-video: the lists, but no video in two splits and no clip twice; official (published): the "
        "lists as they are",
    )


class ListedClips(FileRecordings):
    """Clips of videos with their own sound. A subclass defines ``classes``, ``listed`` and ``clip_name``.

    Videos vanish from where such data sets are downloaded, so that nearly every copy lacks some. By default they
    are left out, as ``data.on_bad = "skip"`` says, and reported.
    """

    Config: ClassVar[type[ClipsConfig]] = ClipsConfig
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {"data": {"on_bad": "skip"}}
    unlisted: ClassVar[str | None] = "is in no list; add it to one, or remove it"
    """What is wrong with a clip that no list names; none where the folder may be part of a larger data set."""

    def listed(self, root: Path, bad: list[BadFileError]) -> tuple[list[Clip], set[str]]:
        """The rows of the lists, in their order, and the names of clips in all rows, usable or ``bad``."""
        raise NotImplementedError

    @staticmethod
    def clip_name(stem: str) -> str | None:
        """The name of a clip in the lists from that of its file without ending; none for another file."""
        raise NotImplementedError

    def listing(self) -> Listing:
        """The samples of each split; ``UserError`` for a missing list, or a split that would be empty."""
        root = self.root()
        bad: list[BadFileError] = []
        clips, names = self.listed(root, bad)
        media = media_below(root, self.clip_name, bad)
        if self.unlisted:
            bad += [BadFileError(media[name].visual, self.unlisted) for name in sorted({*media} - names)]
        if self.config.split == "by-video":
            clips = kept_apart(clips, media, bad)
        if clips and not any(clip.name in media for clip in clips):
            raise UserError(
                f"{root}: holds none of the {len(clips):,} clips that its lists name, such as {clips[0].name}; "
                f"set dataset.root to the folder with the lists and the clips{first_bad(bad)}"
            )
        splits = {"train": [], "test": [], **with_files(clips, media, bad)}
        if "validation" not in splits:
            splits["train"], splits["validation"] = self._divided(splits["train"])
        named = {name: splits[name] for name in ("train", "validation", "test")}
        return checked_listing(root, named, bad, f"{len(clips):,} clips")

    def _divided(self, samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
        """All but a share of the training samples, and that share for validation; no video is in both."""
        labels = np.array([sample.label for sample in samples], dtype=int)
        videos = np.array([sample.groups[0] for sample in samples], dtype=object)
        rng = np.random.default_rng(self.config.seed)
        rest, taken = grouped(labels, videos.astype(str), self.config.validation, rng)
        return [samples[index] for index in rest], [samples[index] for index in taken]


def list_file(root: Path, given: str | None, name: str, setting: str) -> Path:
    """The list ``given`` by the user, or ``name`` in the data set's folder; ``UserError`` if there is none."""
    path = user_path(given) if given else root / name
    if reason := unreadable(path):
        raise UserError(f"{path}: {reason}; or name the list in dataset.{setting}")
    return path

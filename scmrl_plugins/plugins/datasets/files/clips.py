"""Clips of videos that lists name: their rows, their files, and no video in two splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import SOUNDS, VIDEOS, files_below
from scmrl_plugins.plugins.datasets.files.samples import Sample
from scmrl_plugins.plugins.datasets.files.window import Window

SPLITS = ("test", "validation", "train")
"""Where a video in several splits is kept: in the first of these that has it."""
_CUT = re.compile(r"(.{11})_(\d+)(?:_(\d+))?")


@dataclass(frozen=True)
class Clip:
    """A row of a list: the clip's name, the index of its class, its split, the video it is cut from, its line.

    ``window``: the part of the clip that is used; none: all of it.
    """

    name: str
    label: int
    split: str
    video: str
    source: str
    window: Window | None = None


@dataclass(frozen=True)
class Media:
    """The files of a clip: a video with its own sound, or a sound beside it."""

    audio: Path
    visual: Path


def cut_name(text: str) -> str | None:
    """``ID_SSSSSS`` of ``ID_START`` or ``ID_START_END``: an id of YouTube and the first second, six digits wide.

    Lists and files pad the second or not, and name the end or not. ``None`` for another name.
    """
    match = _CUT.fullmatch(text)
    return f"{match[1]}_{int(match[2]):06d}" if match else None


def media_below(root: Path, name_of: Callable[[str], str | None], bad: list[BadFileError]) -> dict[str, Media]:
    """The files of every clip in a folder and below it, by the clip's name, which ``name_of`` reads from a stem.

    Files that are not named as clips are passed over. Of two files of one kind and name the second is bad.
    """
    found: tuple[dict[str, Path], dict[str, Path]] = {}, {}
    for path in files_below(root, SOUNDS | VIDEOS, bad):
        if name := name_of(path.stem):
            kind = found[path.suffix.lower() in VIDEOS]
            if (other := kind.setdefault(name, path)) != path:
                bad.append(BadFileError(path, f"{other} is the clip {name} already; remove one of the two"))
    sounds, videos = found
    bad += [
        BadFileError(path, "a sound without its video; copy the video, or remove this file")
        for name, path in sounds.items()
        if name not in videos
    ]
    return {name: Media(sounds.get(name, path), path) for name, path in videos.items()}


def kept_apart(clips: Sequence[Clip], media: Mapping[str, Media], bad: list[BadFileError]) -> list[Clip]:
    """The clips without those whose video is in another split too, and without the repeated rows of a clip.

    A video in several splits stays in ``test``, else in ``validation``; of several rows of a clip the first stays.
    """
    owner: dict[str, Clip] = {}
    rows: dict[str, Clip] = {}
    kept = []
    for clip in sorted(clips, key=lambda clip: SPLITS.index(clip.split)):
        home = owner.setdefault(clip.video, clip)
        first = rows.setdefault(clip.name, clip)
        if home.split != clip.split:
            reason = (
                f"is in the {clip.split} split ({clip.source}), and its video {clip.video} in the {home.split} "
                f"split ({home.source}) too; it is left out of {clip.split}, unless dataset.split is 'official'"
            )
        elif first is not clip:
            reason = (
                f"is listed again in {clip.source}, after {first.source}; the first row counts, unless "
                f"dataset.split is 'official'"
            )
        else:
            kept.append(clip)
            continue
        if clip.name in media:
            bad.append(BadFileError(media[clip.name].visual, reason))
    return kept


def with_files(
    clips: Sequence[Clip], media: Mapping[str, Media], bad: list[BadFileError]
) -> dict[str, list[Sample]]:
    """The samples of each split that has rows, in the order of the list, with the video as their group.

    It is no group column of the data sets: nearly every video has one clip, whose accuracy says nothing. A clip
    without a file, such as a video that is no longer on YouTube, is bad: one beside the other clips.
    """
    splits: dict[str, list[Sample]] = {}
    used: set[tuple[str, str]] = set()
    folder = next((files.visual.parent for files in media.values()), Path())
    for clip in clips:
        splits.setdefault(clip.split, [])
        if files := media.get(clip.name):
            number, name = 1, clip.name
            while (clip.split, name) in used:  # the published splits have some clips twice
                number += 1
                name = f"{clip.name}:{number}"
            used.add((clip.split, name))
            sample = Sample(files.audio, files.visual, clip.label, name, (clip.video,), clip.window)
            splits[clip.split].append(sample)
        else:
            reason = f"no such file, which {clip.source} lists; download it, or leave it out"
            bad.append(BadFileError(folder / f"{clip.name}.mp4", reason))
    return splits

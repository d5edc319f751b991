"""CREMA-D: actors who speak twelve sentences in six emotions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.bases.files import FileRecordings, PhotographsConfig
from scmrl_plugins.plugins.datasets.files.folders import (
    PICTURES,
    SOUNDS,
    VIDEOS,
    files_in,
    folders_in,
    is_folder,
    unreadable,
    user_path,
)
from scmrl_plugins.plugins.datasets.files.samples import Listing, Sample, checked_listing, pair_by_stem
from scmrl_plugins.plugins.datasets.files.splits import grouped
from scmrl_plugins.plugins.datasets.media.read import POINTER, is_pointer
from scmrl_plugins.plugins.datasets.miniatures.crema_d import write_official
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

CLASSES = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
SOUND_FOLDERS = ("AudioWAV", "AudioMP3")
PICTURE_FOLDER = "VideoFlash"
MIRROR = "https://gitlab.com/cs-cooper-lab/crema-d-mirror"
"""Where the authors have the files, too, without a limit of downloads."""
FAULTY = {
    "1076_MTI_NEU_XX": "the video and the mp3 last a moment and are silent",
    "1076_MTI_SAD_XX": "the picture is an error's, and the sound silence",
    "1064_TIE_SAD_XX": "the video and the mp3 have no duration",
    "1064_IEO_DIS_MD": "the video and the mp3 last a minute and show every emotion",
}
"""Clips that the authors call faulty, and why. A fifth has a sound of another name than its
video, which ``_corrected`` corrects."""
PREPARED = ("audio", "visual")
PARTS = ("train", "test")
PUBLISHED_TEST = 744 / 7442
_CLIP = re.compile(r"(?<![A-Za-z0-9_])(\d{4})_([A-Z]{3})_([A-Z]{3})_[A-Z]{1,2}(?![A-Za-z0-9_])")

Divided = tuple[list[Sample], list[Sample]]


class CremaD(FileRecordings):
    """CREMA-D (Cao et al. 2014, ODbL): 7,442 clips of 91 actors; anger, disgust, fear, happy, neutral, sad.

    Official folders ``AudioWAV/1001_DFA_ANG_XX.wav`` (or ``AudioMP3``; without either the sound is that of the
    videos) and ``VideoFlash/1001_DFA_ANG_XX.flv``, named after actor, sentence, emotion and level. Or prepared
    ones, ``{train,test}/{audio,visual}/<CLASS>/<clip>``, with one frame a clip. The published protocol tests 744
    clips drawn at random, of actors whose other clips it trains on, so that the model knows the faces and voices
    of the test. By default no actor is in two splits.
    """

    class Config(PhotographsConfig):
        """Settings of ``crema-d``."""

        root: str | None = Field(
            None, description="folder with AudioWAV and VideoFlash, or with the prepared train and test"
        )
        split: Literal["by-actor", "random", "lists", "folders"] = Field(
            "by-actor",
            description="by-actor: no actor in two splits; random (published): 744 of 7,442 clips at random; "
            "lists (published): the clips in train_list and test_list; folders: as prepared",
        )
        test: float = Field(
            0.2,
            gt=0,
            lt=1,
            description="share of the clips for the test; actors are not divided (by-actor)",
        )
        sound: Literal["AudioWAV", "AudioMP3"] | None = Field(
            None,
            description="folder of the sound; none: AudioWAV, else AudioMP3, else the sound of the videos",
        )
        faulty: Literal["leave out", "keep"] = Field(
            "leave out",
            description="clips that the authors call faulty (docs/datasets.md): report and leave out, or keep",
            json_schema_extra={"before": "keep"},
        )
        train_list: str | None = Field(
            None, description="text or CSV file with the name of a clip in each line (lists)"
        )
        test_list: str | None = Field(None, description="likewise for the test (lists)")

        @model_validator(mode="after")
        def _lists_are_given(self) -> CremaD.Config:
            given = [bool(self.train_list), bool(self.test_list)]
            if given != [self.split == "lists"] * 2:
                raise ValueError(
                    "train_list, test_list and split 'lists' require each other: set all three or none"
                )
            return self

    classes = CLASSES
    group_columns = ("actor",)

    @classmethod
    def native_rate(cls, config: CremaD.Config) -> int:
        """16,000 Hz, as distributed."""
        return 16_000

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Five actors in the official folders, with two clips per emotion."""
        write_official(folder, CLASSES)
        return {"root": str(folder), "validation": 0.25}

    def listing(self) -> Listing:
        """The samples of each split; ``UserError`` if there are no such folders or a split would be empty."""
        root = self.root()
        bad: list[BadFileError] = []
        official = (*SOUND_FOLDERS, PICTURE_FOLDER)
        if self.config.split != "folders" and any(is_folder(root / name) for name in official):
            samples = self._official(root, bad)
        elif any(is_folder(root / part) for part in PARTS):
            samples = self._prepared(root, bad)
        else:
            expected = "train/audio, train/visual, test/audio and test/visual"
            if self.config.split != "folders":
                expected = f"{SOUND_FOLDERS[0]} and {PICTURE_FOLDER}, nor {expected}"
            raise UserError(f"{root}: holds no {expected}; set dataset.root to the folder that does")
        self._refuse_pictures(samples)
        rest, test = self._held_out(samples, bad)
        train, validation = self._divide(rest, self.config.validation, draw=1)
        # Left out after the division, which is thus the same with and without them.
        splits = {
            name: self._without_faulty(part, bad)
            for name, part in (("train", train), ("validation", validation), ("test", test))
        }
        return checked_listing(root, splits, bad, f"{len(samples)} clips")

    def _official(self, root: Path, bad: list[BadFileError]) -> list[Sample]:
        given = [self.config.sound] if self.config.sound else SOUND_FOLDERS
        apart = next((root / name for name in given if is_folder(root / name)), None)
        folders = (root / given[0] if apart is None else apart, root / PICTURE_FOLDER)
        for folder in folders:
            if not is_folder(folder) and (folder == folders[1] or self.config.sound):
                raise UserError(f"{folder}: no such folder; copy it beside the other, or set dataset.root")
        sounds = _fetched(_named(files_in(folders[0], SOUNDS, bad), bad), bad) if apart else []
        videos = _fetched(_named(files_in(folders[1], VIDEOS | PICTURES, bad), bad), bad)
        lacking = {_corrected(Path(error.path).stem) for error in bad if error.reason.startswith(POINTER)}
        # A file whose partner is a pointer is good: it is not reported, too.
        pairs = pair_by_stem(
            [path for path in sounds if _corrected(path.stem) not in lacking],
            [path for path in videos if _corrected(path.stem) not in lacking],
            bad,
            folders,
            _corrected,
            videos=apart is None,
        )
        return [_sample(*pair) for pair in pairs]

    def _without_faulty(self, samples: list[Sample], bad: list[BadFileError]) -> list[Sample]:
        """The samples that the authors do not call faulty."""
        if self.config.faulty == "keep":
            return samples
        bad += [
            BadFileError(
                sample.visual,
                f"a clip that CREMA-D's authors call faulty: {FAULTY[sample.id]}; remove it, or keep it with "
                f"dataset.faulty = 'keep'",
            )
            for sample in samples
            if sample.id in FAULTY
        ]
        return [sample for sample in samples if sample.id not in FAULTY]

    def _prepared(self, root: Path, bad: list[BadFileError]) -> list[Sample]:
        samples: dict[str, Sample] = {}
        for part in PARTS:
            folders = (root / part / PREPARED[0], root / part / PREPARED[1])
            for folder in folders:
                if not is_folder(folder):
                    raise UserError(f"{folder}: no such folder; copy it, or set dataset.root")
            sounds, pictures = (
                [path for inner in (folder, *folders_in(folder, bad)) for path in files_in(inner, endings, bad)]
                for folder, endings in zip(folders, (SOUNDS, PICTURES | VIDEOS), strict=True)
            )
            for stem, sound, picture in pair_by_stem(
                _named(sounds, bad), _named(pictures, bad), bad, folders, _corrected
            ):
                sample = _sample(stem, sound, picture)
                if misplaced := _misplaced(sample):
                    bad.append(misplaced)
                elif stem in samples:
                    bad.append(BadFileError(sound, f"the clip is in {samples[stem].audio.parent} too; remove one"))
                else:
                    samples[stem] = sample
        return list(samples.values())

    def _refuse_pictures(self, samples: list[Sample]) -> None:
        if (self.config.frames or 1) > 1:
            for sample in samples:
                if sample.visual.suffix.lower() in PICTURES:
                    raise UserError(
                        f"dataset.frames = {self.config.frames}: {sample.visual} is one frame; set it to 1, or "
                        f"set dataset.root to the videos"
                    )

    def _held_out(self, samples: list[Sample], bad: list[BadFileError]) -> Divided:
        """The clips for training and validation, and those for the test."""
        if self.config.split == "by-actor":
            return self._divide(samples, self.config.test, draw=0)
        if self.config.split == "random":
            return self._divide(samples, PUBLISHED_TEST, draw=0)
        if self.config.split == "lists":
            return self._listed(samples, bad)
        train, test = ([one for one in samples if one.audio.parents[2].name == part] for part in PARTS)
        return train, test

    def _divide(self, samples: list[Sample], share: float, draw: int) -> Divided:
        """All but about a share of every class, and that share; by actor, no actor is in both.

        ``draw`` numbers the draws, so that the share for validation does not change the test split.
        """
        rng = np.random.default_rng([self.config.seed, draw])
        labels = np.array([sample.label for sample in samples], dtype=int)
        by_actor = self.config.split == "by-actor"
        groups = [sample.id[:4] if by_actor else sample.id for sample in samples]
        rest, taken = grouped(labels, np.array(groups), share, rng)
        return [samples[index] for index in rest], [samples[index] for index in taken]

    def _listed(self, samples: list[Sample], bad: list[BadFileError]) -> Divided:
        """The good clips of ``train_list`` and of ``test_list``, in the order of the lists."""
        by_id = {sample.id: sample for sample in samples}
        damaged = {_corrected(Path(error.path).stem) for error in bad}
        listed: dict[str, str] = {}
        lists = []
        for path in (self.config.train_list, self.config.test_list):
            clips = []
            for line, clip in _read_list(user_path(path)):
                if clip in listed:
                    raise UserError(f"{line}: {clip} is in {listed[clip]} too; remove one")
                if clip not in by_id and clip not in damaged:
                    raise UserError(
                        f"{line}: there is no clip {clip}{near(clip, by_id)} in dataset.root; copy it there or "
                        f"correct the list"
                    )
                listed[clip] = line
                clips += [by_id[clip]] if clip in by_id else []
            lists.append(clips)
        return lists[0], lists[1]


def _fetched(paths: list[Path], bad: list[BadFileError]) -> list[Path]:
    """The files without git-lfs's pointers, which go to ``bad``; ``UserError`` if all of them are pointers."""
    pointers = {path for path in paths if is_pointer(path)}
    remedy = (
        f"run 'git lfs pull' in its repository or, where GitHub answers that the LFS budget is spent, clone "
        f"{MIRROR}"
    )
    if paths and len(pointers) == len(paths):
        raise UserError(
            f"{paths[0].parent}: all {len(paths):,} files are git-lfs pointers, not the data; {remedy}"
        )
    bad += [BadFileError(path, f"{POINTER}, not the data; {remedy}") for path in sorted(pointers)]
    return [path for path in paths if path not in pointers]


def _corrected(stem: str) -> str:
    """The name of a clip. Older copies have a sound ``1040_ITH_SAD_X`` beside the video ``1040_ITH_SAD_XX``."""
    return re.sub(r"_X$", "_XX", stem)


def _named(paths: list[Path], bad: list[BadFileError]) -> list[Path]:
    """The files named after an actor and an emotion; the others go to ``bad``."""
    good = []
    for path in paths:
        match = _CLIP.fullmatch(path.stem)
        if not match:
            bad.append(BadFileError(path, "not named actor_sentence_emotion_level, as 1001_DFA_ANG_XX; rename it"))
        elif match[3] not in CLASSES:
            hint = f"{near(match[3], CLASSES)}; CREMA-D has {', '.join(CLASSES)}"
            bad.append(BadFileError(path, f"{match[3]!r} is not an emotion{hint}; rename it"))
        else:
            good.append(path)
    return good


def _sample(stem: str, sound: Path, picture: Path) -> Sample:
    return Sample(sound, picture, CLASSES.index(stem.split("_")[2]), stem, (stem[:4],))


def _misplaced(sample: Sample) -> BadFileError | None:
    """The error of a file whose folder is not that of the emotion in its name."""
    emotion = CLASSES[sample.label]
    for path in (sample.audio, sample.visual):
        folder = path.parent.name
        if folder != emotion:
            unknown = "" if folder in CLASSES else f", which is not a class{near(folder, CLASSES)}"
            return BadFileError(path, f"its name says {emotion}, its folder {folder!r}{unknown}; move it")
    return None


def _read_list(path: Path) -> Iterator[tuple[str, str]]:
    """``("PATH, line N", clip)`` of every line: the one clip that it names, in any folder, ending or column.

    A heading and empty lines are passed over. Raises ``UserError`` for a line that names no clip or several, or
    that has another emotion in a column than in the name.
    """
    if reason := unreadable(path):
        raise UserError(f"{path}: {reason}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a list of clips ({error}); save it as UTF-8 text") from error
    for number, text in enumerate(lines, 1):
        line = f"{path}, line {number}"
        clips = {_corrected(match[0]) for match in _CLIP.finditer(text)}
        if not clips and (not text.strip() or (number == 1 and not re.search(r"\d{4}_", text))):
            continue
        if len(clips) != 1:
            raise UserError(f"{line}: names {len(clips)} clips; name one, as 1001_DFA_ANG_XX")
        (clip,) = clips
        emotion = clip.split("_")[2]
        columns = {cell.strip("\"'").upper() for cell in re.split(r"[,;\s]+", text)}
        if other := sorted((columns & {*CLASSES}) - {emotion}):
            raise UserError(f"{line}: labels {clip} as {other[0]}; its name says {emotion}: correct the list")
        yield line, clip

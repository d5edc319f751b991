"""The built-in data set: handwritten digits, and the same digits spoken by eSpeak NG."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from scmrl_plugins.plugins.datasets.bases.digits import Digits, DigitsConfig, Row, to_dataset
from scmrl_plugins.plugins.datasets.bases.tasks import Partner, Question, with_cue
from scmrl_plugins.plugins.datasets.files.cache import built_once
from scmrl_plugins.plugins.datasets.files.splits import stratified
from scmrl_plugins.plugins.datasets.media import audio as sound
from scmrl_plugins.plugins.datasets.media import images
from scmrl_plugins.plugins.datasets.speech.utterances import Utterance, speak
from scmrl_plugins.plugins.datasets.speech.voices import PITCHES, RATES, VOICES, WORDS

if TYPE_CHECKING:
    import datasets

VERSION = 2
"""Incremented when the result for a configuration changes."""
IMAGES = 1797
SHARES = {"train": 0.66, "validation": 0.12, "test": 0.22}


class Pair(NamedTuple):
    """The number of an image, what is said, and what is asked."""

    image: int
    utterance: Utterance
    question: Question


class AVDigits(Digits):
    """Handwritten 8x8 digits (UCI "Optical Recognition of Handwritten Digits") with digits spoken by eSpeak NG.

    Images are divided among the splits within each class. Voices are divided as well: no variant (timbre) and no
    accent is in two splits. Each image is paired with several recordings of its digit, drawn by voice,
    rate and pitch. Built offline, once, into the cache; the result depends on the configuration and on the
    version of eSpeak NG. Images are from scikit-learn's ``load_digits``.
    """

    class Config(DigitsConfig):
        """Settings of ``av-digits``."""

        sample_rate: int = Field(
            8000, ge=sound.RATES[0], le=192_000, description="sample rate in Hz of what is spoken"
        )
        images: int = Field(IMAGES, ge=100, le=IMAGES, description="number of handwritten digits to use")
        pairs: int | None = Field(
            None,
            ge=1,
            le=50,
            description="recordings per training and validation image; none: 2, or 6 if the task is not same",
        )
        test_pairs: int = Field(3, ge=1, le=30, description="recordings per test image")

    native_size: ClassVar[int] = 8
    # Digits of 8 pixels lose nothing at 16, which has a third of the pixels of 28.
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {**Digits.defaults["model"], "image_size": 16},
        "train": {**Digits.defaults["train"], "epochs": 4},
    }

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        """Options for fewer digits. They are built in, so no file is written."""
        return {"images": 100, "pairs": 1, "test_pairs": 1}

    def splits(self) -> datasets.DatasetDict:
        """``train``, ``validation`` and ``test``; built into the cache on first use, about ten seconds.

        Raises ``UserError`` if eSpeak NG is not installed (and the cache holds nothing), or the cache
        cannot be written.
        """
        import datasets

        settings = self.config.model_dump(include={"seed", "task", "sample_rate", "images", "test_pairs"})
        settings["pairs"] = self._pairs
        key = hashlib.sha256(json.dumps([VERSION, settings], sort_keys=True).encode()).hexdigest()[:16]
        return built_once(
            f"av-digits-{key}", self._build, lambda folder: datasets.DatasetDict.load_from_disk(str(folder))
        )

    @property
    def _pairs(self) -> int:
        return self.config.pairs or (2 if self.config.task == "same" else 6)

    def _build(self, folder: Path) -> None:
        import datasets

        pixels, plan = self._plan()
        utterances = list(dict.fromkeys(pair.utterance for pairs in plan.values() for pair in pairs))
        recordings: dict[Utterance, bytes] = {}
        with _progress(len(utterances)) as advance:
            for utterance, (samples, rate) in zip(utterances, speak(utterances), strict=True):
                samples = sound.resample(samples.astype(np.float64), rate, self.config.sample_rate)
                recordings[utterance] = sound.encode_wav(samples, self.config.sample_rate)
                advance()
        splits = {}
        for name, pairs in plan.items():
            rows = (
                Row(
                    recordings[pair.utterance],
                    images.encode_png(with_cue(pixels[pair.image], pair.question.cue)),
                    self.task.label(pair.question),
                    f"digit-{pair.image:04d}/{pair.utterance.style}"
                    f"{pair.question.suffix if self.config.task != 'same' else ''}",
                    (pair.utterance.voice,),
                )
                for pair in pairs
            )
            splits[name] = to_dataset(rows, name, self.classes, self.group_columns)
        with _quiet():
            datasets.DatasetDict(splits).save_to_disk(str(folder))

    def _plan(self) -> tuple[np.ndarray, dict[str, list[Pair]]]:
        """Gray values ``[n, 8, 8]``, and each split's pairs."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        rng = np.random.default_rng(self.config.seed)
        used = self.config.images / IMAGES
        parts = stratified(digits.target, [share * used for share in SHARES.values()], rng)
        plan = {}
        for name, members in zip(SHARES, parts, strict=True):
            pairs = self.config.test_pairs if name == "test" else self._pairs
            order = rng.permutation(members)
            partners = self.task.partners(digits.target[order], pairs, rng)
            plan[name] = [
                Pair(int(index), utterance, Question(partner.digit, int(digits.target[index]), partner.cue))
                for index, drawn in zip(order, partners, strict=True)
                for utterance, partner in zip(_utterances(drawn, VOICES[name], rng), drawn, strict=True)
            ]
        return digits.images / 16.0, plan


def _utterances(partners: Sequence[Partner], voices: Sequence[str], rng: np.random.Generator) -> list[Utterance]:
    """Different utterances of the partners' digits, with different voices as far as possible."""
    order = rng.permutation(len(voices))
    drawn: dict[Utterance, None] = {}
    while len(drawn) < len(partners):
        word = WORDS[partners[len(drawn)].digit]
        voice = voices[int(order[len(drawn) % len(voices)])]
        drawn[Utterance(word, voice, int(rng.choice(RATES)), int(rng.choice(PITCHES)))] = None
    return list(drawn)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, and the function that advances it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Synthesising digits (once, then cached)", total=total)
        yield lambda: progress.advance(task)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide datasets' progress bars, as the write is fast."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    enabled = is_progress_bar_enabled()
    disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            enable_progress_bar()

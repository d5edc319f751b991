"""What is asked about a digit said and a digit shown: four tasks on the same recordings and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

DIGITS = tuple("0123456789")
TaskName = Literal["same", "match", "sum", "select"]
Cue = Literal["said", "shown"]
CUES: tuple[Cue, Cue] = ("said", "shown")
_SUFFIX = re.compile(r"/said-([0-9])/shown-([0-9])(?:/cue-(said|shown))?$")


class Partner(NamedTuple):
    """The digit of the other modality, and in ``select`` the modality whose digit counts."""

    digit: int
    cue: Cue | None = None


class Question(NamedTuple):
    """The content of a pair: the digit said, the digit shown, and the cue."""

    said: int
    shown: int
    cue: Cue | None = None

    @property
    def suffix(self) -> str:
        """The end of a row's id, which ``parse_id`` reads."""
        return f"/said-{self.said}/shown-{self.shown}" + (f"/cue-{self.cue}" if self.cue else "")


@dataclass(frozen=True)
class Task:
    """A label for every question, and how questions are drawn.

    ``strata``: for a digit, lists of its possible partners. A digit's pairs come from the lists in turn, and from
    the partners of a list equally often, up to rounding. ``train_pairs`` and ``test_pairs``: pairs for each
    recording or picture where the settings leave that open; where partners differ, training needs several.
    """

    classes: tuple[str, ...]
    label: Callable[[Question], int]
    strata: Callable[[int], Sequence[Sequence[Partner]]]
    train_pairs: int
    test_pairs: int

    def partners(self, digits: np.ndarray, pairs: int, rng: np.random.Generator) -> list[list[Partner]]:
        """``pairs`` partners for each of the ``digits`` ``[n]``; nothing is drawn where there is no choice."""
        result: list[list[Partner]] = [[] for _ in digits]
        start = 0
        for digit in range(10):
            members = np.flatnonzero(digits == digit)
            strata = self.strata(digit)
            if len(strata) == len(strata[0]) == 1:
                order, decks = members, [_repeated(strata[0][0])]
            else:
                order, decks = rng.permutation(members), [_shuffled(stratum, rng) for stratum in strata]
            for member in order:
                result[member] = [next(decks[(start + position) % len(decks)]) for position in range(pairs)]
                start += pairs
        return result


def parse_id(identifier: str) -> Question:
    """The digits said and shown, and the cue, of a row of ``match``, ``sum`` or ``select``.

    In ``same`` both digits are the row's label, and its id does not repeat them: ``ValueError``.
    """
    match = _SUFFIX.search(identifier)
    if match is None:
        raise ValueError(f"{identifier!r} does not end with the digits said and shown")
    cue = next((cue for cue in CUES if cue == match[3]), None)
    return Question(int(match[1]), int(match[2]), cue)


def with_cue(picture: np.ndarray, cue: Cue | None) -> np.ndarray:
    """Gray values in [0, 1], ``[S, S]``, with a white square in an upper corner: left ``shown``, right ``said``.

    Its side is S // 7: 4 of MNIST's 28 pixels, 1 of 8. It is drawn over the digit, and the other corner is black.
    """
    if cue is None:
        return picture
    side = picture.shape[0] // 7
    marked = picture.copy()
    marked[:side, :side] = cue == "shown"
    marked[:side, -side:] = cue == "said"
    return marked


def _repeated(partner: Partner) -> Iterator[Partner]:
    while True:
        yield partner


def _shuffled(partners: Sequence[Partner], rng: np.random.Generator) -> Iterator[Partner]:
    """All partners in random order, again and again."""
    while True:
        for index in rng.permutation(len(partners)):
            yield partners[index]


TASKS: dict[TaskName, Task] = {
    # The label is in both modalities: redundant information.
    "same": Task(DIGITS, lambda q: q.said, lambda digit: [[Partner(digit)]], 2, 5),
    # Half of the pairs agree. The label is in neither modality: synergistic information.
    "match": Task(
        ("different", "same"),
        lambda q: int(q.said == q.shown),
        lambda digit: [[Partner(digit)], [Partner(other) for other in range(10) if other != digit]],
        8,
        2,
    ),
    # Synergistic as well, and each of the hundred combinations matters.
    "sum": Task(
        DIGITS, lambda q: (q.said + q.shown) % 10, lambda digit: [[Partner(other) for other in range(10)]], 8, 2
    ),
    # The label is in the modality that a cue names: unique information of one, then of the other.
    "select": Task(
        DIGITS,
        lambda q: q.shown if q.cue == "shown" else q.said,
        lambda digit: [[Partner(other, cue) for other in range(10)] for cue in CUES],
        8,
        2,
    ),
}

"""The tasks on digits said and shown: labels, balance, and what each modality tells alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable

import numpy as np
import pytest
from digit_files import av
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.plugins.datasets.bases.tasks import CUES, TASKS, Question, TaskName, parse_id, with_cue
from scmrl_plugins.plugins.datasets.media.resize import resize
from scmrl_plugins.plugins.datasets.speech.voices import WORDS

MIXED = [name for name in TASKS if name != "same"]


def questions(task: TaskName, each: int, pairs: int, seed: int = 0) -> list[Question]:
    """Those of ``each`` recordings of every digit."""
    digits = np.repeat(np.arange(10), each)
    partners = TASKS[task].partners(digits, pairs, np.random.default_rng(seed))
    return [
        Question(int(digit), partner.digit, partner.cue)
        for digit, drawn in zip(digits, partners, strict=True)
        for partner in drawn
    ]


def best(observed: Iterable[Hashable], labels: Iterable[int]) -> float:
    """The accuracy of the best answer to what is observed, if its distribution is known."""
    counts: dict[Hashable, Counter[int]] = defaultdict(Counter)
    for value, label in zip(observed, labels, strict=True):
        counts[value][label] += 1
    return sum(max(each.values()) for each in counts.values()) / sum(map(Counter.total, counts.values()))


@pytest.mark.parametrize(
    ("task", "heard", "seen", "both"),
    [("same", 1, 1, 1), ("match", 0.5, 0.5, 1), ("sum", 0.1, 0.1, 1), ("select", 0.55, 0.55, 1)],
)
def test_what_each_modality_tells(task: TaskName, heard: float, seen: float, both: float) -> None:
    asked = questions(task, 36, 10)  # a multiple of every number of partners
    labels = [TASKS[task].label(question) for question in asked]
    assert best([question.said for question in asked], labels) == pytest.approx(heard)
    assert best([(question.shown, question.cue) for question in asked], labels) == pytest.approx(seen)
    assert best(asked, labels) == both
    counts = Counter(labels)
    assert set(counts) == set(range(len(TASKS[task].classes)))
    assert max(counts.values()) == min(counts.values())


@given(task=st.sampled_from(list(TASKS)), each=st.integers(1, 7), pairs=st.integers(1, 11), seed=st.integers(0, 9))
def test_balance_up_to_rounding(task: TaskName, each: int, pairs: int, seed: int) -> None:
    asked = questions(task, each, pairs, seed)
    assert len(asked) == 10 * each * pairs
    for digit in range(10):
        mine = [question for question in asked if question.said == digit]
        assert len(mine) == each * pairs
        if task != "same":
            others = Counter(question.shown for question in mine if task != "match" or question.shown != digit)
            fewest = min(others.get(other, 0) for other in range(10) if task != "match" or other != digit)
            assert max(others.values(), default=0) - fewest <= (2 if task == "select" else 1)
    if task == "match":
        same = sum(question.said == question.shown for question in asked)
        assert abs(2 * same - len(asked)) <= 1
    if task == "select":
        assert abs(sum(1 if question.cue == "said" else -1 for question in asked)) <= 1
    assert asked == questions(task, each, pairs, seed)


@pytest.mark.parametrize("task", ["match", "select"])
def test_an_even_number_of_pairs_is_balanced_for_every_recording(task: TaskName) -> None:
    drawn = TASKS[task].partners(np.arange(10), 4, np.random.default_rng(0))
    for digit, partners in enumerate(drawn):
        half = [partner.digit == digit if task == "match" else partner.cue == "said" for partner in partners]
        assert sum(half) == 2


def test_the_seed_decides() -> None:
    for task in MIXED:
        assert questions(task, 3, 4, 0) != questions(task, 3, 4, 1)


def test_labels() -> None:
    assert TASKS["match"].classes[TASKS["match"].label(Question(3, 3))] == "same"
    assert TASKS["match"].classes[TASKS["match"].label(Question(3, 8))] == "different"
    assert TASKS["sum"].label(Question(7, 8)) == 5
    assert TASKS["select"].label(Question(7, 8, "said")) == 7
    assert TASKS["select"].label(Question(7, 8, "shown")) == 8


@given(said=st.integers(0, 9), shown=st.integers(0, 9), cue=st.sampled_from([None, *CUES]))
def test_an_id_tells_the_question(said: int, shown: int, cue: object) -> None:
    question = Question(said, shown, cue)  # type: ignore[arg-type]
    assert parse_id(f"7_jackson_32/mnist-00012{question.suffix}") == question


def test_an_id_without_a_question() -> None:
    with pytest.raises(ValueError, match="does not end with the digits"):
        parse_id("7_jackson_32/mnist-00012")


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("size", [16, 28, 32])
def test_the_cue_can_be_seen_at_every_size(side: int, size: int) -> None:
    """Whatever is drawn below it, the corner of the cue is brighter than the other one by half the range."""
    rng = np.random.default_rng(0)
    for picture in (np.zeros((side, side)), np.ones((side, side)), rng.random((side, side))):
        corners = {}
        for cue in CUES:
            marked = with_cue(picture, cue)
            small = resize(marked, size)
            corners[cue] = (small[0, 0], small[0, -1])
            inner = marked[side // 7 :]
            np.testing.assert_array_equal(inner, picture[side // 7 :])
        assert corners["shown"][0] - corners["shown"][1] > 0.5
        assert corners["said"][1] - corners["said"][0] > 0.5
    assert with_cue(picture, None) is picture


@pytest.mark.parametrize("task", MIXED)
def test_av_digits_asks_the_same(task: TaskName) -> None:
    digits = av(task=task, images=1000, pairs=4, test_pairs=4)
    assert digits.classes == TASKS[task].classes
    _, plan = digits._plan()
    for pairs in plan.values():
        labels = [digits.task.label(pair.question) for pair in pairs]
        chance = {"match": 0.5, "sum": 0.1, "select": 0.55}[task]
        assert best([pair.question.said for pair in pairs], labels) == pytest.approx(chance, abs=0.06)
        shown = [(pair.question.shown, pair.question.cue) for pair in pairs]
        assert best(shown, labels) == pytest.approx(chance, abs=0.06)
        assert all(pair.utterance.text == WORDS[pair.question.said] for pair in pairs)
        assert len({(pair.image, pair.utterance, pair.question) for pair in pairs}) == len(pairs)

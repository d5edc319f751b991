from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.registry.errors import UserError, describe, near, printable


def test_a_user_error_is_one_line_whatever_it_was_made_of() -> None:
    assert str(UserError("first\n  second\r\n\tthird ")) == "first second third"


@pytest.mark.parametrize(
    ("typed", "known", "expected"),
    [
        ("cmlr", ["cmrl", "late"], " (did you mean 'cmrl'?)"),
        ("CMRL", ["cmrl", "late"], " (did you mean 'cmrl'?)"),
        ("lifnode", ["LIFNode", "late"], " (did you mean 'LIFNode'?)"),
        ("nothing-like-it", ["cmrl", "late"], ""),
        ("cmrl", [], ""),
        ("", ["cmrl"], ""),
    ],
)
def test_near_names_what_was_probably_meant(typed: str, known: list[str], expected: str) -> None:
    assert near(typed, known) == expected


def test_near_names_only_the_nearest() -> None:
    assert near("node", ["nodeabc", "nodes", "nodeab", "other"]) == " (did you mean 'nodes'?)"


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("two\nlines"), "ValueError: two lines"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyError(), "KeyError"),
        (MuteError(), "MuteError"),
    ],
)
def test_any_error_is_described_in_one_line(error: BaseException, expected: str) -> None:
    assert describe(error) == expected


@given(st.text(), st.lists(st.text()))
def test_near_takes_any_text(typed: str, known: list[str]) -> None:
    message = near(typed, known)
    assert message == "" or any(repr(name) in message for name in known)


def test_what_is_not_printable_is_escaped_and_what_is_long_is_cut() -> None:
    assert printable("a\x1b[2Jb\u202ec\udcff\n") == r"a\x1b[2Jb\u202ec\udcff\n"
    assert printable("étude 漢") == "étude 漢"
    cut = printable("first" + "x" * 10**6 + "last")
    assert len(cut) < 2100
    assert cut.startswith("first")
    assert cut.endswith("last")

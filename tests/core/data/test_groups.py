"""Group columns of a data set, in its stored features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from blob_data import SIZES, Blobs, spoil

from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.data.store import FeatureStore
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
SPEAKERS = [f"s{index % 4}" for index in range(SIZES["test"])]


@pytest.fixture
def grouped(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``grouped(speakers, columns)`` gives the rows of the test split a column of speakers."""
    original = Blobs.splits

    def group(speakers: list[Any], columns: tuple[str, ...] = ("speaker",), stream: bool = False) -> None:
        def splits(blobs: Blobs) -> Any:
            test = original(blobs)["test"].add_column("speaker", speakers)
            return {"test": test.to_iterable_dataset() if stream else test}

        monkeypatch.setattr(Blobs, "splits", splits)
        monkeypatch.setattr(Blobs, "group_columns", columns, raising=False)
        monkeypatch.setattr(FeatureStore, "part_rows", 7)

    return group


def groups(small: Small, **options: Any) -> dict[str, list[str]]:
    parts = small()
    return prepare(parts.dataset, parts.config, ["test"], **options).splits["test"].groups


@pytest.mark.parametrize("stream", [False, True])
def test_groups_are_kept(small: Small, grouped: Callable[..., None], stream: bool) -> None:
    """Also where features were stored before the data set had groups, and where bad rows are left out."""
    assert groups(small) == {}
    grouped(SPEAKERS, stream=stream)
    assert groups(small) == {"speaker": SPEAKERS}
    parts = small()
    assert prepare(parts.dataset, parts.config, ["test"]).computed == 0


def test_groups_that_change_are_stored_again(small: Small, grouped: Callable[..., None]) -> None:
    grouped(SPEAKERS)
    groups(small)
    grouped([f"t{name}" for name in SPEAKERS])
    assert groups(small) == {"speaker": [f"t{name}" for name in SPEAKERS]}


def test_bad_rows_leave_their_groups_out(
    small: Small, grouped: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    grouped(SPEAKERS)
    spoil(monkeypatch, "test-0", "test-9")
    kept = [name for index, name in enumerate(SPEAKERS) if index not in (0, 9)]
    assert groups(small, on_bad="skip") == {"speaker": kept}


def test_missing_groups_are_one_line(small: Small, grouped: Callable[..., None]) -> None:
    grouped(SPEAKERS, columns=("speaker", "writer"))
    with pytest.raises(UserError, match="the data has no column 'writer', which is a group column"):
        groups(small)
    grouped([None, *SPEAKERS[1:]])
    with pytest.raises(UserError, match="sample 'test-0' has no 'speaker', a group column of the data set"):
        groups(small)
    grouped(["s" * 501, *SPEAKERS[1:]])
    with pytest.raises(UserError, match="a 'speaker' has 501 characters: shorten it to 500"):
        groups(small)

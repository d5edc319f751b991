"""Samples to classify in folders and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scmrl_plugins.core.interfaces import BadFileError, Files
from scmrl_plugins.plugins.datasets.files.unlabelled import find
from scmrl_plugins.registry import UserError


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def found(source: Path, root: Path) -> tuple[dict[str, tuple[str | None, str | None]], list[str]]:
    """The samples, with paths below ``root``, and the reasons of what is bad."""
    bad: list[BadFileError] = []
    samples = find(source, bad)
    names = {
        one.name: tuple(str(path.relative_to(root)) if path else None for path in (one.audio, one.visual))
        for one in samples
    }
    assert len(names) == len(samples)
    return names, [str(error) for error in bad]  # type: ignore[return-value]


def test_a_flat_folder(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav", "a.png", "b.mp4", "c.flac", "c.mov", "d.wav", "e.jpg", "notes.txt", ".a.wav")
    fill(tmp_path, "f.wav", "f.mp3", "f.png", "g.heic")
    names, bad = found(tmp_path, tmp_path)
    assert names == {
        "a": ("a.wav", "a.png"),
        "b": ("b.mp4", "b.mp4"),
        "c": ("c.flac", "c.mov"),
        "d": ("d.wav", None),
        "e": (None, "e.jpg"),
    }
    assert len(bad) == 2
    assert any("same stem" in line for line in bad)
    assert any(".heic files are not read" in line for line in bad)


def test_the_layouts_of_av_folder(tmp_path: Path) -> None:
    fill(tmp_path, "test/one/a.wav", "test/one/a.png", "test/two/a.mp4")
    fill(tmp_path, "train/audio/one/x.wav", "train/visual/one/x.png", "train/visual/one/x.wav")
    fill(tmp_path, "train/audio/one/y.mp4", "train/visual/one/y.mp4", "train/visual/one/z.mp4")
    names, bad = found(tmp_path, tmp_path)
    assert names == {
        "test/one/a": ("test/one/a.wav", "test/one/a.png"),
        "test/two/a": ("test/two/a.mp4", "test/two/a.mp4"),
        "train/one/x": ("train/audio/one/x.wav", "train/visual/one/x.png"),
        "train/one/y": ("train/audio/one/y.mp4", "train/visual/one/y.mp4"),
        "train/one/z": (None, "train/visual/one/z.mp4"),
    }
    assert [line for line in bad if "is in the folder visual; move it to audio" in line] == bad
    assert bad


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_table(tmp_path: Path, ending: str) -> None:
    fill(tmp_path, "s/a.wav", "s/a.png", "b.mp4")
    rows = [
        {"audio": "s/a.wav", "visual": "s/a.png", "video": "", "id": "first", "label": "unused"},
        {"audio": "", "visual": "", "video": "b.mp4", "id": "", "label": ""},
        {"audio": "s/a.wav", "visual": "", "video": "", "id": "", "label": ""},
        {"audio": "gone.wav", "visual": "", "video": "", "id": "", "label": ""},
        {"audio": "", "visual": "", "video": "", "id": "none", "label": ""},
        {"audio": "s/a.wav", "visual": "", "video": "b.mp4", "id": "two", "label": ""},
    ]
    path = tmp_path / f"table{ending}"
    if ending == ".csv":
        path.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    names, bad = found(path, tmp_path)
    assert names == {
        "first": ("s/a.wav", "s/a.png"),
        "b.mp4": ("b.mp4", "b.mp4"),
        "s/a.wav": ("s/a.wav", None),
    }
    assert [word in line for word, line in zip(("gone.wav", "is empty", "names a file"), bad, strict=True)] == [
        True
    ] * 3


def spans(table: Path, *columns: object) -> tuple[list[object], list[str]]:
    bad: list[BadFileError] = []
    found = find(table, bad, *([columns] if columns else []))  # type: ignore[list-item]
    return [one.window for one in found], [str(error) for error in bad]


def test_a_table_says_which_parts_are_used(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav")
    table = tmp_path / "t.csv"
    table.write_text("audio,start,seconds,from\na.wav,0.5,1.5,2\na.wav,,1,3\na.wav,1,0,4\n")
    windows, bad = spans(table)
    assert windows == [(0.5, 2.0)]
    assert "line 3, column 'start': is empty" in bad[0]
    assert "line 4, column 'seconds': 0 s is no duration" in bad[1]
    # The columns, or the one duration of all rows, that training had.
    assert spans(table, "from", "seconds")[0] == [(2.0, 3.5), (3.0, 4.0)]
    assert spans(table, "from", 0.25) == ([(2.0, 2.25), (3.0, 3.25), (4.0, 4.25)], [])
    assert spans(table, 1.0, "from") == ([(1.0, 3.0), (1.0, 4.0), (1.0, 5.0)], [])
    # Without a duration it is all from there; without a start it begins with the file; without both it is all.
    assert spans(table, "start", "missing")[0] == [(0.5, None), (1.0, None)]
    assert spans(table, "missing", "from")[0] == [(0.0, 2.0), (0.0, 3.0), (0.0, 4.0)]
    assert spans(table, "missing", 1.0) == ([None] * 3, [])


def test_a_table_of_pictures_needs_no_sounds(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "t.csv").write_text("visual\na.png\n")
    assert find(tmp_path / "t.csv", []) == [Files("a.png", None, tmp_path / "a.png")]


def test_what_holds_nothing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("audio,visual\n")
    (tmp_path / "u.csv").write_text("sound\na.wav\n")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("t.csv", "holds no rows"),
        ("u.csv", "no column 'audio'"),
        ("empty", "holds no sounds"),
        ("gone", "no such file or folder"),
    ):
        with pytest.raises(UserError, match=words):
            find(tmp_path / name, [])

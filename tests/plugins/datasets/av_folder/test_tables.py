"""Tables of samples: every form, and each bad row, line and table by its name."""

from __future__ import annotations

import csv
import unicodedata
from pathlib import Path

import pytest
from av_folder_data import Cells, folder, ids, put, reasons, rows_of, total, write_csv, write_jsonl, write_parquet

from scmrl_plugins.plugins.datasets.miniatures.av_folder import CLASSES
from scmrl_plugins.registry import UserError

WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}


@pytest.mark.parametrize("ending", WRITERS)
def test_tables_say_what_folders_say(root: Path, ending: str) -> None:
    expected = folder(root=str(root)).splits()
    path = WRITERS[ending](root / f"all{ending}", rows_of(root))
    dataset = folder(manifest=str(path))
    assert dataset.classes == CLASSES
    splits = dataset.splits()
    for name in ("train", "test"):
        assert len(splits[name]) == len(expected[name])
    test = {(row["audio"]["path"], row["visual"]["path"], row["label"]) for row in splits["test"]}
    assert test == {(row["audio"]["path"], row["visual"]["path"], row["label"]) for row in expected["test"]}
    assert dataset.bad_files() == []
    assert "test/bell/bell 0.wav test/bell/bell 0.jpg" in splits["test"]["id"]


@pytest.mark.parametrize("ending", WRITERS)
def test_labels_and_ids_may_be_numbers(root: Path, ending: str) -> None:
    rows = rows_of(root, id=lambda number: 100 + number, label=lambda number: number % 2)
    dataset = folder(manifest=str(WRITERS[ending](root / f"all{ending}", rows)))
    assert dataset.classes == ("0", "1")
    assert {one for split in ids(dataset).values() for one in split} == {str(100 + place) for place in range(18)}


def test_a_table_as_people_and_programs_write_it(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "über, allem")
    decomposed = unicodedata.normalize("NFD", "über")
    (tmp_path / f"{decomposed}.wav").write_bytes((tmp_path / "über, allem.wav").read_bytes())
    text = (
        '\ufeffnote,label,visual,audio\r\n\r\n"two\nlines",a,"über, allem.jpg","über, allem.wav"\r\n,,,\r\n'
        f'x, b ,{root}/test/bell/bell 0.jpg, "über.wav"\r\n'
        + "".join(
            f"x,{label},{root}/train/bell/../flöte/flöte {place}.png,{root}/train/bell/bell {place}.wav\n"
            for place, label in enumerate("abab")
        )
    )
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    dataset = folder(manifest=str(path), test=0.3, validation=0.3)
    assert dataset.classes == ("a", "b")
    assert total(dataset) == 6
    assert dataset.bad_files() == []


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_than_commas(root: Path, mark: str) -> None:
    rows = rows_of(root)
    text = "".join(f"{mark.join(map(str, cells))}\r\n" for cells in (rows[0], *(row.values() for row in rows)))
    (root / "all.csv").write_text(text, encoding="utf-8-sig")
    assert ids(folder(manifest=str(root / "all.csv"))) == ids(
        folder(manifest=str(write_csv(root / "b.csv", rows)))
    )


HEADER = "audio,visual,label,split\n"


GOOD = "".join(
    f"a{place}.wav,a{place}.jpg,{'xy'[place % 2]},{'test' if place > 7 else 'train'}\n" for place in range(12)
)


@pytest.mark.parametrize(
    ("row", "where", "reason"),
    [
        ("b.wav,a0.jpg,x,train", "b.wav", "line 14 of table.csv, column 'audio': cannot be read (No such file"),
        ("a0.wav,b.jpg,x,train", "b.jpg", "line 14 of table.csv, column 'visual': cannot be read (No such file"),
        ("a0.wav,.,x,train", ".", "line 14 of table.csv, column 'visual': is a folder, a pipe or a device"),
        (f"{'b' * 300}.wav,a0.jpg,x,train", None, "column 'audio': cannot be read (File name too long)"),
        ("a0.wav,a0.jpg", "table.csv", "line 14: 2 cells under 4 columns"),
        ("a0.wav,a0.jpg,x,train,more", "table.csv", "line 14: 5 cells under 4 columns"),
        (",a0.jpg,x,train", "table.csv", "line 14, column 'audio': is empty; write text"),
        ("a0.wav,a0.jpg,,train", "table.csv", "line 14, column 'label': is empty; write text or a whole number"),
        ("a0.wav,a0.jpg, ,train", "table.csv", "line 14, column 'label': is"),
        ("a0.wav,a1.jpg,x,", "table.csv", "line 14, column 'split': is empty"),
        (
            "a0.wav,a1.jpg,x,trian",
            "table.csv",
            "line 14, column 'split': 'trian' is not a split (did you mean",
        ),
        ("a0.wav,a0.jpg,x,train", "table.csv", "line 14, column 'id': 'a0.wav a0.jpg' is that of line 2 of table"),
        (
            "a0.wav,a8.jpg,x,train",
            "a0.wav",
            "is in the train split (line 14 of table.csv), and one of its",
        ),
    ],
)
def test_a_bad_row_is_named(pairs: Path, row: str, where: str | None, reason: str) -> None:
    path = pairs / "table.csv"
    path.write_text(f"{HEADER}{GOOD}{row}\n")
    dataset = folder(manifest=str(path))
    ((bad, message),) = reasons(dataset).items()
    assert reason in message
    assert where is None or bad == str(pairs / where)
    assert total(dataset) == 12


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"audio": "a0.wav"', "line 13: not JSON"),
        ("[" * 100_000, "line 13: not JSON"),
        ("[1, 2]", "line 13: not a JSON object"),
        ('{"audio": "a0.wav", "label": "x", "split": "train"}', "line 13, column 'visual': is empty"),
        ('{"audio": 1, "visual": "a0.jpg", "label": "x", "split": "train"}', "line 13, column 'audio': 1 is int"),
        (
            '{"audio": "a0.wav", "visual": "a0.jpg", "label": true, "split": "train"}',
            "column 'label': True is bool",
        ),
        (
            '{"audio": "a0.wav", "visual": "a0.jpg", "label": NaN, "split": "train"}',
            "column 'label': nan is float",
        ),
        ('{"audio": "a0.wav", "visual": "a0.jpg", "label": "x"}', "line 13, column 'split': is empty"),
        (
            '{"audio": "a\\udcff.wav", "visual": "a0.jpg", "label": "x", "split": "train"}',
            "be written in UTF-8",
        ),
        (
            '{"audio": "a\\u0000", "visual": "a0.jpg", "label": "x", "split": "train"}',
            "read (embedded null",
        ),
        (
            '{"audio": "a0.wav", "visual": "a1.jpg", "label": "x", "split": "train", "id": []}',
            "column 'id': [] is list",
        ),
    ],
)
def test_a_bad_line_of_json_is_named(pairs: Path, line: str, reason: str) -> None:
    rows = list(csv.DictReader(f"{HEADER}{GOOD}".splitlines()))
    path = write_jsonl(pairs / "table.jsonl", rows)
    path.write_text(f"{path.read_text()}{line}\n\n")
    dataset = folder(manifest=str(path))
    ((_, message),) = reasons(dataset).items()
    assert reason in message
    assert total(dataset) == 12


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv", b"", "is empty; write a line with audio, visual, label"),
        (
            "t.csv",
            b"audio;sight;label\n",
            "line 1: no column 'visual'; there are 'audio', 'sight', 'label'",
        ),
        ("t.csv", b"\naudio,visual,labels\n", r"line 2: no column 'label' \(did you mean 'labels'\?\)"),
        ("t.csv", b"audio,visual,label,label\n", "line 1: two columns 'label'; remove or rename one"),
        ("t.csv", b"audio,visual,label\n\xff,b,c\n", "cannot be read as CSV .*utf-8.*; save it as CSV in UTF-8"),
        ("t.csv", b'audio,visual,label\n"a,b,c\n', "after line 1: cannot be read as CSV"),
        ("t.csv", b"audio,visual,label\n", "0 classes"),
        (
            "t.csv",
            b"audio,visual,label\na,b,c\n",
            "0 classes .* 1 files are bad, the first is .*/a: line 2 of t.csv",
        ),
        ("t.jsonl", b"\xff\n", "cannot be read as text"),
        ("t.parquet", b"PAR1", "cannot be read as Parquet"),
        ("t.txt", b"", r"a table of samples ends in \.csv, \.jsonl, \.parquet"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        folder(manifest=str(tmp_path / name))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_parquet_of_other_columns_and_types(pairs: Path) -> None:
    rows: list[Cells] = list(csv.DictReader(f"{HEADER}{GOOD}".splitlines()))
    path = write_parquet(pairs / "t.parquet", [{"audio": row["audio"], "label": row["label"]} for row in rows])
    with pytest.raises(UserError, match="its schema: no column 'visual'; there are 'audio', 'label'"):
        folder(manifest=str(path))
    write_parquet(path, [*rows, {**rows[0], "label": None}])
    assert reasons(folder(manifest=str(path))) == {
        str(path): "row 13, column 'label': is empty; write text or a whole number"
    }
    write_parquet(path, [{**row, "audio": {"bytes": b"RIFF"}} for row in rows])
    with pytest.raises(UserError, match=r"row 1, column 'audio': .* is dict; write text"):
        folder(manifest=str(path))


def test_parquet_with_text_that_is_not_utf8(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    texts = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xb1")]
    )
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"audio": texts, "visual": texts, "label": texts}), path)
    with pytest.raises(UserError, match=r"t.parquet: cannot be read as Parquet .*utf-8.*; write"):
        folder(manifest=str(path))

"""Predictions by sample in a file."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.evaluation.predictions import read_predictions, write_predictions
from scmrl_plugins.registry import UserError


def some() -> Predictions:
    generator = torch.Generator().manual_seed(0)
    logits = 9 * torch.randn(5, 3, generator=generator)
    groups = {"speaker": ["x", "x", "y", "y", "z"], "id": list("abcde")}
    ids = [f"clip {index}" for index in range(5)]
    return Predictions(torch.tensor([0, 2, 1, 1, 0]), logits, torch.ones(5), ["one", "id", "drei, 3"], ids, groups)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, before = tmp_path / "new folder" / "p.parquet", some()
    write_predictions(path, before, {"run": "here", "condition": {"noise": {"audio": -5.0}}})
    after, description = read_predictions(path)
    assert description == {"run": "here", "condition": {"noise": {"audio": -5.0}}}
    assert (after.classes, after.ids, after.groups) == (before.classes, before.ids, before.groups)
    assert torch.equal(after.targets, before.targets)
    torch.testing.assert_close(after.logits, before.logits.double().log_softmax(1))
    one, two = metrics.compute(before), metrics.compute(after)
    assert {**one, "loss": None} == {**two, "loss": None}
    assert [file.name for file in path.parent.iterdir()] == ["p.parquet"]


def test_the_columns_are_for_other_programs(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", some(), {})
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet").to_pydict()
    assert list(table) == [
        *("id", "target", "predicted", "log_probability.one", "log_probability.id", "log_probability.drei, 3"),
        *("group.speaker", "group.id"),
    ]
    assert table["target"] == ["one", "drei, 3", "id", "id", "one"]
    assert table["predicted"] == [some().classes[index] for index in some().logits.argmax(1)]


def test_files_that_do_not_work_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file/p.parquet: cannot be written \(.*\); name another file"):
        write_predictions(tmp_path / "file" / "p.parquet", some(), {})
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), tmp_path / "other.parquet")
    for name in ("file", "other.parquet", "none.parquet"):
        with pytest.raises(UserError, match=f"{name}: cannot be read as predictions"):
            read_predictions(tmp_path / name)


@pytest.mark.parametrize(
    "metadata",
    ["[]", '"classes"', '{"classes": []}', '{"classes": null}', f'{{"classes": ["{"n" * 2**20}"]}}', "[" * 10**5],
    ids=lambda text: text[:20],
)
def test_forged_metadata_is_one_line(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, some(), {})
    table = pyarrow.parquet.read_table(path).replace_schema_metadata({"scmrl": metadata})
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(UserError, match=r"p.parquet: cannot be read as predictions") as error:
        read_predictions(path)
    assert len(str(error.value)) < 1000

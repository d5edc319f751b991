"""What every data set in the registry goes through, on its miniature; and FSDD's recordings from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paths import REAL
from planted_files import SMALL, scmrl, sets

from scmrl_plugins.registry import catalogue

NAMES = [entry.name for entry in catalogue().entries if entry.kind == "dataset" and entry.plugin.builtin]


QUICK = ("av-folder",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NAMES]
)
def test_check_and_prepare_agree_on_its_miniature(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "data").mkdir()
    options = catalogue().get("dataset", name).load().fixture(tmp_path / "data")
    given = sets({**{f"dataset.{key}": value for key, value in options.items()}, "model.image_size": 16})
    checked = scmrl("data", "check", name, *given, "--json")
    assert checked.code == 0, checked.err
    found = json.loads(checked.out)
    assert found["bad"] == []
    for before in (False, True):
        prepared = scmrl("data", "prepare", name, *given, "--json")
        assert prepared.code == 0, prepared.err
        splits = json.loads(prepared.out)["splits"]
        rows = splits.values() if isinstance(splits, dict) else splits
        assert sum(row["before" if before else "computed"] for row in rows) == found["n"] > 0
        assert sum(row["computed" if before else "before"] for row in rows) == 0


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "fsdd").is_dir(), reason="no data here")
def test_real_recordings_from_check_to_eval(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "recordings").mkdir()
    for path in sorted((REAL / "fsdd" / "recordings").glob("*_[jt]*_[0-7].wav")):  # of two speakers
        (tmp_path / "recordings" / path.name).symlink_to(path)
    (tmp_path / "mnist").symlink_to(REAL / "mnist")
    options = {"dataset.root": tmp_path, "dataset.validation_indices": 1, "dataset.test_pairs": 1}
    given = sets({**SMALL, **options})
    checked = json.loads(scmrl("data", "check", "spoken-digits", *given, "--json").out)
    assert (checked["n"], checked["bad"]) == (20 * (2 * 2 + 1 + 5), [])
    trained = scmrl("train", "--dataset", "spoken-digits", *given, "--device", "cpu", "-o", tmp_path / "run")
    assert trained.code == 0, trained.err
    assert json.loads(scmrl("eval", tmp_path / "run", "--device", "cpu", "--json").out)["n"] == 100

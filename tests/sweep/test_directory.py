from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweep_files import FILE, RANDOM, claim, read, work

from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep.directory import SweepDirectory


def test_another_space_or_configuration_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    claim(read(tmp_path), out)
    claim(read(tmp_path, FILE, "sweep.metric=validation_loss", "sweep.parallel=3", "sweep.seed=0"), out)
    for change, message in (
        ("space.train.lr=[0.01, 0.03]", r"space.train.lr was \[0.01, 0.02\], is \[0.01, 0.03\]"),
        ("space.train.weight_decay=[0.1]", "space.train.weight_decay was not there"),
        ("sweep.seed=1", "seed was 0, is 1"),
        ("train.epochs=3", "train.epochs was 2, is 3"),
    ):
        with pytest.raises(UserError, match=rf"out: has the sweep of another .*{message}.* -o"):
            claim(read(tmp_path, FILE, change), out)
    (out / "sweep.json").write_text("{")
    with pytest.raises(UserError, match=r"sweep.json: not JSON"):
        claim(read(tmp_path), out)


def test_a_sweep_of_a_version_with_fewer_settings_goes_on(tmp_path: Path) -> None:
    directory = claim(read(tmp_path), tmp_path / "out")
    described = json.loads(directory.manifest.read_text())
    del described["base"]["data"]["mixup"], described["base"]["fusion"]["align"]
    directory.manifest.write_text(json.dumps(described))
    claim(read(tmp_path), tmp_path / "out")
    with pytest.raises(UserError, match=r"data.mixup was 0.0, is 0.5"):
        claim(read(tmp_path, FILE, "data.mixup=0.5"), tmp_path / "out")


def test_more_random_trials_of_the_same_space_are_added(tmp_path: Path) -> None:
    claim(read(tmp_path, RANDOM), tmp_path / "out")
    claim(read(tmp_path, RANDOM, "sweep.trials=8"), tmp_path / "out")


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"out: already exists; .* -o"):
        claim(read(tmp_path), tmp_path / "out")


def test_one_process_runs_a_sweep(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path / "out")
    with directory.locked(), pytest.raises(UserError, match="another process runs this sweep"), directory.locked():
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="already exists"), SweepDirectory(tmp_path / "file").locked():
        pass


@pytest.mark.slow
def test_a_result_of_another_configuration_is_refused(tmp_path: Path) -> None:
    sweep = read(tmp_path, FILE.replace("[0.01, 0.02]", "[0.01]").replace("[0.25, 0.3]", "[0.3]"))
    file = work(sweep, tmp_path / "out").result_file("trial-001")
    result = json.loads(file.read_text())
    result["config"]["train"]["epochs"] = 9
    file.write_text(json.dumps(result))
    with pytest.raises(UserError, match=r"trial-001.json: made with another configuration"):
        claim(sweep, tmp_path / "out")
    file.write_text("{")
    with pytest.raises(UserError, match=r"not JSON .*; restore or remove it"):
        claim(sweep, tmp_path / "out")

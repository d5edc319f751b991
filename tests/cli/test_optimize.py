"""``--optimize``: batch norm folded into the convolutions before a run is measured or used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runs import Outcome, contents, invoke

from scmrl_plugins.core.run.directory import open_run


def output(done: Outcome) -> dict[str, Any]:
    assert done.code == 0, done.err
    return json.loads(done.out)


def convolutions(run: Path) -> int:
    return sum(name.endswith(".bn.running_mean") for name in open_run(run).load_model().state_dict())


def test_eval_of_the_folded_model_agrees(trained: Path) -> None:
    before = contents(trained)
    plain = output(invoke("eval", trained, "--device", "cpu", "--json"))
    folded = output(invoke("eval", trained, "--device", "cpu", "--json", "--optimize"))
    assert "optimized" not in plain
    assert folded["accuracy"] == plain["accuracy"]
    assert folded["confusion"] == plain["confusion"]
    assert folded["loss"] == pytest.approx(plain["loss"], abs=0.02)
    optimized = folded["optimized"]
    assert optimized.keys() == {"folded", "moved_spikes", "spikes"}
    assert optimized["folded"] == convolutions(trained) > 0
    assert optimized["moved_spikes"] / optimized["spikes"] < 1e-3
    assert contents(trained) == before


@pytest.mark.slow
def test_eval_says_it_in_one_line(trained: Path) -> None:
    noisy = ["eval", trained, "--device", "cpu", "--visual-snr", "0", "--optimize"]
    optimized = output(invoke(*noisy, "--json"))["optimized"]
    last = invoke(*noisy).out.splitlines()[-1]
    moved = f"{optimized['moved_spikes']:,} of {optimized['spikes']:,} spikes of the first batch moved"
    assert last.startswith(f"batch norm folded into {optimized['folded']} convolutions; {moved} (")
    assert last.endswith(" %)")


@pytest.mark.slow
def test_predict_with_the_folded_model_agrees(trained: Path, tmp_path: Path) -> None:
    row = open_run(trained).assemble().dataset.splits()["test"][0]
    audio, visual = tmp_path / "a.wav", tmp_path / "v.png"
    audio.write_bytes(row["audio"]["bytes"])
    visual.write_bytes(row["visual"]["bytes"])
    args = ["predict", trained, "--audio", audio, "--visual", visual, "--device", "cpu"]
    plain, folded = output(invoke(*args, "--json")), output(invoke(*args, "--json", "--optimize"))
    assert plain.keys() == {"predictions"}
    assert folded["optimized"] == {"folded": convolutions(trained)}
    assert folded["predictions"][0]["label"] == plain["predictions"][0]["label"]
    expected = {entry["label"]: entry["probability"] for entry in plain["predictions"]}
    found = {entry["label"]: entry["probability"] for entry in folded["predictions"]}
    assert found == pytest.approx(expected, abs=0.02)
    last = invoke(*args, "--optimize").out.splitlines()[-1]
    assert last == f"batch norm folded into {convolutions(trained)} convolutions"

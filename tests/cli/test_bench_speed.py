"""``scmrl bench speed``: one comparison at a tiny size, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_runs import assert_refused, fork_scmrl, invoke

from scmrl_plugins.bench.speed import compare

TINY = [
    *("--image-size", "32", "--dims", "32", "--heads", "4", "--batch", "2", "--steps", "2"),
    *("--threads", "1", "--repeats", "2", "--kernel-shape", "2,2,4,8,8", "--device", "cpu"),
]
RATIOS = ("train_ratio", "inference_ratio", "kernel_ratio", "times_bare")


@pytest.mark.slow
def test_it_compares_ours_with_the_baseline(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = fork_scmrl("bench", "speed", *TINY, "--json", "-o", out, cwd=tmp_path)
    assert done.code == 0, done.err
    results = json.loads(done.out)
    assert all(results[name] > 0 for name in RATIOS)
    assert results["train_ratio"] == min(results["train"]["baseline"]["seconds"]) / min(
        results["train"]["ours"]["seconds"]
    )
    assert len(results["train"]["ours"]["seconds"]) == 2
    assert results["inference_folded"]["baseline"] == results["inference"]["baseline"]
    assert results["inference_folded"]["ours"] != results["inference"]["ours"]
    assert results["inference_folded_ratio"] == results["inference_folded"]["ratio"]
    assert results["same_first_loss"], results["first_losses"]
    assert results["kernel"]["shape"] == [2, 2, 4, 8, 8]
    assert results["settings"]["threads"] == 1
    assert results["environment"]["packages"]["torch"]
    assert results["hardware"]["device"] == "cpu"
    if sys.platform == "linux":
        assert results["memory_ratio"] == results["memory"]["baseline"] / results["memory"]["ours"]
    assert "--kernel-shape 2,2,4,8,8" in results["command"]
    assert sorted(file.name for file in out.iterdir()) == ["speed.json", "speed.md"]
    assert json.loads((out / "speed.json").read_text()) == results
    assert "| training step |" in (out / "speed.md").read_text()


def test_sizes_that_do_not_fit_are_one_line_with_the_options_typed_and_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "Child", None)
    out = tmp_path / "out"
    for sizes, message in (
        (["--heads", "5"], "--heads 5 does not divide --dims 32"),
        (["--dims", "10", "--heads", "2", "--image-size", "128"], "--dims 10 is not a multiple of 8"),
    ):
        assert_refused(invoke("bench", "speed", *TINY, *sizes, "--json", "-o", out), f"Error: {message}")
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--batch", "0"], ["--batch"]),
        (["--repeats", "many"], ["--repeats"]),
        (["--image-size", "2"], ["--image-size"]),
        (["--kernel-shape", "4"], ["--kernel-shape", "4,8,32,128,128"]),
        (["--kernel-shape", "4,0,8"], ["--kernel-shape", "'4,0,8'"]),
        (["--device", "abacus"], ["--device"]),
        (["--fusion", "cmlr"], ["cmlr", "did you mean 'cmrl'"]),
        (["-o", __file__], ["is a file"]),
    ],
    ids=lambda given: " ".join(given),
)
def test_bad_options_are_one_line(given: list[str], words: list[str]) -> None:
    assert_refused(invoke("bench", "speed", *given), *words)


def test_its_help_is_reached() -> None:
    assert "speed" in invoke("bench", "--help").out
    assert "--kernel-shape" in invoke("bench", "speed", "--help").out

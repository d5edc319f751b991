"""``scmrl bench data``: both sides give the same batches, and a loader's memory does not follow the data set."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from scmrl_plugins.bench.data import compare
from scmrl_plugins.bench.data.clips import CLASSES, clips
from scmrl_plugins.cli import main
from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.model.assembly import build_dataset
from scmrl_plugins.registry import catalogue

SAMPLES = 64


def run(*args: str) -> Any:
    result = CliRunner().invoke(main, ["bench", "data", *args], prog_name="scmrl")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command left, measured on clips of its own."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    done = run("--samples", str(SAMPLES), "--repeats", "2", "--json", "-o", str(folder))
    assert done.exit_code == 0, done.stderr
    (folder.parent / "stdout").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def results(out: Path) -> dict[str, Any]:
    return json.loads((out.parent / "stdout").read_text())


@pytest.mark.slow
def test_the_ratio_is_that_of_the_least_times(results: dict[str, Any]) -> None:
    epochs = results["epochs"]
    assert results["ratio"] == min(epochs["decoded"]["seconds"]) / min(epochs["stored"]["seconds"])
    for side, rate in results["samples_per_second"].items():
        assert rate["best"] == pytest.approx(SAMPLES / min(epochs[side]["seconds"]))
        assert len(epochs[side]["seconds"]) == results["settings"]["repeats"] == 2
    # Ten times is what a quiet machine shows; a busy one still shows that nothing is decoded.
    assert results["ratio"] > 3
    assert results["same_batches"]
    assert results["samples"] == SAMPLES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell it")
def test_memory_does_not_follow_the_data_set(results: dict[str, Any]) -> None:
    small, large = results["memory"]["small"], results["memory"]["large"]
    assert (small["samples"], large["samples"]) == (SAMPLES // 8, SAMPLES)
    assert large["stored"] == pytest.approx(8 * small["stored"], rel=0.02)
    assert results["memory"]["grows"] == large["private"] - small["private"]
    assert results["memory"]["grows"] < (large["stored"] - small["stored"]) / 3
    assert small["before"] < small["private"]


@pytest.mark.slow
def test_the_results_are_written_without_paths_of_this_machine(out: Path, results: dict[str, Any]) -> None:
    assert sorted(file.name for file in out.iterdir()) == ["data.json", "data.md"]
    assert json.loads((out / "data.json").read_text()) == results
    page = (out / "data.md").read_text()
    assert "| ratio |" in page
    assert f"`scmrl bench data --samples {SAMPLES} --repeats 2`" in page
    for text in (page, (out / "data.json").read_text()):
        assert str(out.parent) not in text
        assert "scmrl-clips" not in text


def test_bad_files_are_measured_on_neither_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dict(catalogue().get("dataset", "av-folder").load().fixture(tmp_path / "data"))
    sorted((tmp_path / "data" / "train").glob("*/*.wav"))[-1].write_bytes(b"")
    sections = {
        "dataset": {"name": "av-folder", **options},
        "data": {"on_bad": "skip"},
        "model": {"image_size": 16},
    }
    config = layers.compose(options=sections)

    def measured(config: ExperimentConfig, cases: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """One case, in this process; another on a system that does not report it."""
        found = compare.memory.Loader(config, []).memory(*cases[-1])
        assert sys.platform != "linux" or 0 < found["before"] <= found["private"]
        return [{"private": None}, found]

    monkeypatch.setattr(compare.memory, "measure", measured)
    from scmrl_plugins.core.system.progress import Progress

    results = compare.run(config, 100, 1, Progress())
    dataset, config = build_dataset(config)
    assert (
        results["samples"] == len(prepare(dataset, config).splits["train"]) == len(dataset.splits()["train"]) - 1
    )
    assert results["same_batches"]
    assert results["memory"]["grows"] is None


def test_generated_clips_have_a_folder_and_a_cache_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCMRL_CACHE", "before")
    with clips(1) as root:
        assert os.environ["SCMRL_CACHE"] == str(root.parent / "cache")
        splits = {split.name: len(list(split.glob("*/*.wav"))) for split in root.iterdir()}
        assert splits == {"train": 1, "validation": CLASSES, "test": CLASSES}
    assert os.environ["SCMRL_CACHE"] == "before"
    assert not root.exists()


def test_other_batches_are_noticed() -> None:
    one = {"audio": torch.ones(2), "label": torch.zeros(2)}
    assert compare.same_batch(one, {name: column.clone() for name, column in one.items()})
    assert not compare.same_batch(one, {**one, "audio": torch.zeros(2)})
    assert not compare.same_batch(one, {"audio": one["audio"]})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--root", "x"], ["--root x", "NAME"]),
        (["--samples", "7"], ["--samples"]),
        (["--repeats", "0"], ["--repeats"]),
        (["-o", __file__], ["is a file"]),
        (["av-folder"], ["dataset.root"]),
        (["av-foldre"], ["av-foldre", "did you mean 'av-folder'"]),
    ],
    ids=lambda value: " ".join(map(str, value))[:30],
)
def test_what_cannot_be_is_one_line(given: list[str], words: list[str]) -> None:
    done = run(*given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    for word in words:
        assert word in done.stderr

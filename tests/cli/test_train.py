"""The main commands on a tiny scale: train, eval, predict, explain, and resuming a run."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from cli_runs import TINY, Fork, assert_refused, contents, fork_scmrl, invoke, scmrl

from scmrl_plugins.core.evaluation.metrics import compute
from scmrl_plugins.core.evaluation.predictions import read_predictions
from scmrl_plugins.core.run.directory import open_run


def metrics(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def timeless(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Metrics without what a clock decides."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The trained run, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_training_leaves_a_complete_run(trained: Path) -> None:
    assert {p.name for p in trained.iterdir()} == {
        "config.toml",
        "environment.json",
        "model.safetensors",
        "metrics.jsonl",
        "checkpoints",
        "report.html",
        "tensorboard",
    }
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {".lock", "epoch-00001.safetensors"}
    epoch, test = metrics(trained)
    assert epoch["epoch"] == 1
    assert {
        "lr",
        "train_loss",
        "train_accuracy",
        "terms",
        "validation_loss",
        "validation_accuracy",
    } <= epoch.keys()
    assert epoch["terms"].keys() == {"ce", "sao"}  # type: ignore[attr-defined]
    assert (test["split"], test["protocol"], test["best_epoch"]) == ("test", "honest", 1)


def test_training_prints_the_result_and_the_path_and_that_nothing_crosses(trained: Path) -> None:
    lines = (trained.parent / "stdout").read_text().splitlines()
    test = metrics(trained)[-1]
    assert test["contribution"]["audio_from_visual"]["dead"]  # after one epoch
    assert lines[-2].startswith("warning: nothing crosses between the modalities in fusion 'cmrl': residual rates")
    assert "Cross-modal contribution on the test split" in (trained / "report.html").read_text(encoding="utf-8")
    assert lines[0] == f"test accuracy {test['accuracy']:.2%} of {test['n']} samples (honest protocol)"
    assert lines[-1] == f"run: {trained}"


@pytest.mark.slow
def test_eval_agrees_exactly_with_the_result_of_the_training(trained: Path, small_cache: Path) -> None:
    options = ("--device", "cpu", "--contribution", "--json")
    done = fork_scmrl("eval", trained, *options, SCMRL_CACHE=str(small_cache))
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert {"accuracy", "n", "loss", "per_class", "contribution"} <= result.keys()
    expected = metrics(trained)[-1]
    assert {key: result[key] for key in result if key in expected} == {
        key: expected[key] for key in expected if key not in ("protocol", "best_epoch")
    }
    confusion = result["confusion"]
    assert sum(map(sum, confusion)) == result["n"]
    assert result["accuracy"] == sum(confusion[i][i] for i in range(10)) / result["n"]


@pytest.mark.slow
def test_eval_for_people_and_of_another_split(trained: Path) -> None:
    done = invoke("eval", trained, "--split", "validation", "--contribution", "--drop", "audio", "--device", "cpu")
    assert done.code == 0
    for words in ("partner share", "audio from visual", "visual from audio", "nothing crosses"):
        assert words in done.out
    done = invoke("eval", trained, "--split", "validation", "--device", "cpu")
    assert "partner share" not in done.out
    assert done.out.count("validation split") == 1
    result = json.loads(invoke("eval", trained, "--split", "validation", "--device", "cpu", "--json").out)
    assert f"{result['accuracy']:.2%}" in done.out
    assert result["split"] == "validation"
    assert result["accuracy"] == metrics(trained)[0]["validation_accuracy"]


@pytest.mark.slow
def test_eval_with_noise_is_reproducible_and_not_the_clean_result(trained: Path, tmp_path: Path) -> None:
    noisy = ["eval", trained, "--visual-snr", "0", "--audio-snr", "-3.5", "--device", "cpu", "--json"]
    first = json.loads(invoke(*noisy, "--predictions", tmp_path / "p.parquet").out)
    assert first["noise"] == {"visual": 0.0, "audio": -3.5}
    predictions, described = read_predictions(tmp_path / "p.parquet")
    assert compute(predictions)["accuracy"] == first["accuracy"]
    assert described["condition"] == {"noise": first["noise"], "occlusion": {}, "dropped": []}
    assert first["interval"][0] < first["accuracy"] < first["interval"][1]
    assert json.loads(invoke(*noisy).out) == first
    assert json.loads(invoke(*noisy, "--seed", "1").out)["loss"] != first["loss"]
    assert first["loss"] != metrics(trained)[-1]["loss"]


@pytest.mark.slow
def test_predict_agrees_with_eval(trained: Path, tmp_path: Path, one_thread: None) -> None:
    evaluated = invoke("eval", trained, "--device", "cpu", "--predictions", tmp_path / "p.parquet")
    assert evaluated.code == 0, evaluated.err
    expected, _ = read_predictions(tmp_path / "p.parquet")
    rows = open_run(trained).assemble().dataset.splits()["test"]
    assert list(expected.ids) == rows["id"]
    chosen = range(0, len(rows), len(rows) // 6)
    for index in chosen:
        audio, visual = tmp_path / "a.wav", tmp_path / "v.png"
        audio.write_bytes(rows[index]["audio"]["bytes"])
        visual.write_bytes(rows[index]["visual"]["bytes"])
        done = invoke("predict", trained, "--audio", audio, "--visual", visual, "--device", "cpu", "--json")
        assert done.code == 0, done.err
        predictions = json.loads(done.out)["predictions"]
        probabilities = [entry["probability"] for entry in predictions]
        assert sorted(entry["label"] for entry in predictions) == list("0123456789")
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert int(predictions[0]["label"]) == int(expected.predicted[index])
    assert len(set(expected.predicted[list(chosen)].tolist())) > 1  # else agreeing would mean nothing

    for_people = invoke("predict", trained, "--audio", audio, "--visual", visual, "--device", "cpu").out
    assert for_people.index(f"{probabilities[0]:.2%}") < for_people.index(f"{probabilities[-1]:.2%}")


@pytest.mark.slow
def test_accuracy_against_noise_as_table_json_and_plot(trained: Path, tmp_path: Path) -> None:
    plot = tmp_path / "snr.png"
    wanted = ("eval", trained, "--device", "cpu", "--snr", "0:20:20", "--modality", "audio", "--plot", plot)
    found = json.loads(invoke(*wanted, "--json").out)
    assert [point["snr"] for point in found["curves"]["audio"]] == [0, 20]
    assert found["plot"] == str(plot)
    assert plot.read_bytes().startswith(b"\x89PNG")
    single = json.loads(invoke("eval", trained, "--device", "cpu", "--audio-snr", "0", "--json").out)
    first = found["curves"]["audio"][0]
    assert (first["accuracy"], first["interval"]) == (single["accuracy"], single["interval"])
    assert "20 dB" in invoke(*wanted).out
    assert_refused(invoke(*wanted[:6], "--audio-snr", "3"), "--audio-snr", "--snr")
    assert_refused(invoke("eval", trained, "--modality", "audio"), "--snr")


@pytest.mark.slow
def test_a_run_is_explained(copy: Path) -> None:
    """What the training's report leaves out is measured on the test split."""
    assert "Measured by scmrl explain" in (copy / "report.html").read_text(encoding="utf-8")
    (copy / "report.html").unlink()
    done = invoke("explain", copy)
    assert done.code == 0
    assert done.out == f"{copy / 'report.html'}\n"
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert "Measured by scmrl explain" not in page
    assert "Shapley shares" in page


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_a_finished_run_is_only_tested_again(copy: Path, tmp_path: Path, one_thread: None) -> None:
    before = contents(copy)
    done = invoke("train", copy, "--device", "cpu", "--predictions", tmp_path / "p.parquet")
    assert done.code == 0, done.err
    after = contents(copy)
    assert after["metrics.jsonl"] == before["metrics.jsonl"]
    assert after["model.safetensors"] == before["model.safetensors"]
    assert after["checkpoints/epoch-00001.safetensors"] == before["checkpoints/epoch-00001.safetensors"]
    predictions, described = read_predictions(tmp_path / "p.parquet")
    assert compute(predictions)["accuracy"] == metrics(copy)[-1]["accuracy"]
    assert described["split"] == "test"


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_a_run_that_was_built_trains_to_the_same_result(trained: Path, tmp_path: Path, one_thread: None) -> None:
    run = tmp_path / "built"
    assert invoke("build", *TINY, "--device", "cpu", "-o", run).code == 0
    done = invoke("train", run, "--device", "cpu")
    assert done.code == 0, done.err
    assert timeless(metrics(run)) == timeless(metrics(trained))
    assert (run / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_more_epochs_resume_where_the_run_stopped(copy: Path) -> None:
    config = copy / "config.toml"
    config.write_text(config.read_text().replace("\nepochs = 1\n", "\nepochs = 2\n"))
    first = metrics(copy)[0]
    done = invoke("train", copy, "--device", "cpu")
    assert done.code == 0, done.err
    assert "after epoch 1 of 2" in done.err
    lines = metrics(copy)
    assert [line.get("epoch", "test") for line in lines] == [1, 2, "test"]
    assert lines[0] == first


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_without_output_runs_are_numbered(tmp_path: Path) -> None:
    for _ in range(2):
        done = invoke("train", *TINY, "--fusion", "late", "--device", "cpu")
        assert done.code == 0, done.err
    assert [p.name for p in sorted((tmp_path / "work" / "runs").iterdir())] == [
        "av-digits-late-001",
        "av-digits-late-002",
    ]
    assert done.out.splitlines()[-1] == f"run: {Path('runs', 'av-digits-late-002')}"
    first, second = (timeless(metrics(path)) for path in sorted((tmp_path / "work" / "runs").iterdir()))
    assert first == second  # the same seed is the same training


AGAIN = "repeat to stop at once"


@pytest.mark.slow
def test_an_interrupted_training_prints_how_to_resume(small_cache: Path, tmp_path: Path) -> None:
    """Ctrl-C after the first epoch ends with one line, and the run resumes where it stopped."""
    run = tmp_path / "run"
    sets = ["--set", "train.epochs=500", "--set", "train.workers=2"]
    command = ["train", *TINY, "-o", str(run), "--device", "cpu", *sets]
    fork = Fork(scmrl, *command)
    while "epoch 1/500" not in fork.err.read_text() and fork.process.is_alive():
        time.sleep(0.05)
    # As a terminal does, to the workers too.
    for process in [*psutil.Process(fork.process.pid).children(), psutil.Process(fork.process.pid)]:
        process.send_signal(signal.SIGINT)
    code, out, err = dataclasses.astuple(fork.outcome())
    assert code == 130
    assert out == ""
    lines = [line for line in err.splitlines() if line]  # click ends the terminal's ^C with an empty line
    messages = [line for line in lines if not line.startswith(("epoch ", "warning: epoch "))]
    assert messages == [
        f"Error: interrupted; finishing the step and saving, then resume with scmrl train {run}; {AGAIN}"
    ]
    done = metrics(run)[-1]["epoch"]
    config = run / "config.toml"
    config.write_text(config.read_text().replace("epochs = 500", f"epochs = {done}"))
    assert fork_scmrl("train", run).code == 0
    assert [line.get("epoch") for line in metrics(run)][:-1] == list(range(1, int(str(done)) + 1))


@pytest.mark.slow
def test_a_dry_run_leaves_nothing(small_cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = invoke("train", *TINY, "--device", "cpu", "--dry-run", "--processes", "2", "-o", run)
    assert done.code == 0, done.err
    assert "for 1 epochs of 9 steps" in done.out
    assert "2 processes of 8 samples each" in done.out
    assert not run.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_batches_that_fit_stay(small_cache: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = invoke("train", *TINY, "--fusion", "late", "--device", "cpu", "--auto-batch", "-o", run)
    assert done.code == 0, done.err
    assert open_run(run).config().train.batch_size == 16


def test_what_does_not_go_together_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(copy)
    assert_refused(invoke("train", copy, "--auto-batch"), "keeps its own configuration", "--auto-batch")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert_refused(invoke("train", copy, "--processes", "2"), "--processes 2: this process is already one of 4")
    assert contents(copy) == before

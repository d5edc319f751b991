"""Sweeps: what a file says, what is drawn, what is refused, and what becomes of trials."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from sweep_files import FILE, RANDOM, claim, quiet, read, work

from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep import ray_tune, report, space, sweep, worker

# What a file says ------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_in_the_order_of_the_file(tmp_path: Path) -> None:
    trials = read(tmp_path).trials()
    assert [trial.name for trial in trials] == ["trial-001", "trial-002", "trial-003", "trial-004"]
    assert [list(trial.settings.values()) for trial in trials] == [
        list(values) for values in itertools.product([0.01, 0.02], [0.25, 0.3])
    ]
    assert [(t.config.train.lr, t.config.neuron.options["threshold"]) for t in trials] == [
        (t.settings["train.lr"], t.settings["neuron.threshold"]) for t in trials
    ]
    assert all(trial.config.train.epochs == 2 for trial in trials)


def test_whole_sections_and_single_losses_can_vary(tmp_path: Path) -> None:
    text = """
    dataset.name = "blobs"
    loss = [{ name = "ce" }, { name = "sao" }]
    [space]
    fusion = [{ name = "late" }, { name = "cmrl", attention = "spatial" }]
    loss.sao.weight = [0.1, 0.2]
    """
    trials = read(tmp_path, text).trials()
    assert [trial.config.fusion.options for trial in trials[1:3]] == [{}, {"attention": "spatial"}]
    assert [trial.config.loss[1].weight for trial in trials] == [0.1, 0.2, 0.1, 0.2]


def test_the_command_line_and_a_base_change_the_sweep_and_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(RANDOM)
    text = 'extends = ["base.toml"]\n[sweep]\ntrials = 3\n[space]\ntrain.lr = [0.1]\n'
    wanted = read(tmp_path, text, "train.epochs=7", "sweep.seed=5", "space.train.batch_size=[4]")
    assert (wanted.section.search, wanted.section.trials, wanted.section.seed) == ("random", 3, 5)
    assert {(t.config.train.lr, t.config.train.epochs, t.config.train.batch_size) for t in wanted.trials()} == {
        (0.1, 7, 4)
    }


def test_draws_follow_from_the_seed_alone(tmp_path: Path) -> None:
    points = [trial.settings for trial in read(tmp_path, RANDOM).trials()]
    assert points == [trial.settings for trial in read(tmp_path, RANDOM).trials()]
    more = [trial.settings for trial in read(tmp_path, RANDOM, "sweep.trials=9").trials()]
    assert more[:6] == points
    assert points != [trial.settings for trial in read(tmp_path, RANDOM, "sweep.seed=1").trials()]
    # Known numbers: the same on every machine, and the sweeps that people have begun go on.
    assert points[0] == {
        "train.lr": 0.0006507,
        "train.batch_size": 6,
        "train.weight_decay": 0.0213,
        "fusion.name": "cmrl",
    }


def test_draws_lie_where_their_range_says() -> None:
    axes = space.read_axes(
        {
            "a.u": {"uniform": [-1, 3]},
            "a.l": {"log_uniform": [1e-4, 1.0]},
            "a.i": {"integer": [1, 3]},
            "a.j": {"log_integer": [1, 1000]},
        },
        "here",
    )
    points = space.draw(axes, 2000, 0, "here")
    values = {key: sorted(point[key] for point in points) for key in points[0]}
    assert -1 <= values["a.u"][0] < -0.9
    assert 0.9 < values["a.u"][1000] < 1.1
    assert 2.9 < values["a.u"][-1] <= 3
    assert 0.008 < values["a.l"][1000] < 0.0125  # half of them below the geometric mean
    assert {value: values["a.i"].count(value) // 100 for value in (1, 2, 3)}.keys() == {1, 2, 3}
    assert all(600 < values["a.i"].count(value) < 730 for value in (1, 2, 3))
    assert values["a.j"][0] == 1
    assert 25 < values["a.j"][1000] < 40
    assert values["a.j"][-1] <= 1000


@pytest.mark.parametrize("share", [0.0, 1 - 2**-53])
def test_the_ends_of_a_range_are_in_it(share: float) -> None:
    for kind, ends in (("uniform", [0.1, 0.7]), ("log_uniform", [3e-5, 0.9]), ("integer", [2, 7])):
        value = space.Range(**{kind: ends}).at(share)
        assert value == pytest.approx(ends[round(share)], rel=1e-3)
        assert ends[0] <= value <= ends[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"sweep.toml: \[space\] is empty: write what to try"),
        ("space = 3", "sweep.toml: space must be a section"),
        ("sweep = 3\n[space]\ntrain.lr = [1.0]", "sweep.toml: sweep must be a section"),
        ("[sweep]\nserch = 'grid'", r"sweep.serch: unknown key .did you mean 'search'"),
        (
            "[sweep]\nsearch = 'gird'\n[space]\ntrain.lr = [1.0]",
            "sweep.search: input should be 'grid' or 'random'",
        ),
        ("[sweep]\nsearch = 'random'\n[space]\ntrain.lr = [1.0]", "sweep.trials: how many points"),
        (
            "[sweep]\nsearch = 'random'\ntrials = 0\n[space]\ntrain.lr = [1.0]",
            "sweep.trials: input should be greater",
        ),
        (
            "[sweep]\ntrials = 3\n[space]\ntrain.lr = [1.0]",
            "sweep.trials: a grid has the trials that its lists make",
        ),
        ("[sweep]\ngpus = 1.5\n[space]\ntrain.lr = [1.0]", "sweep.gpus: above 1 only whole"),
        ("[sweep]\nmetric = 'test_accuracy'", "sweep.metric: input should be 'validation_accuracy'"),
        ("[space]\ntrain.lr = { uniform = [0.1, 1.0] }", r"space.train.lr: a grid needs a list of values"),
        (
            "[space]\ntrain.lr = { log_unifrom = [1, 2] }",
            r"space.train.lr.log_unifrom: unknown key .*'log_uniform'",
        ),
        ("[space]\ntrain.lr = { uniform = [1, 0] }", "the first must be less than the second"),
        ("[space]\ntrain.lr = { log_uniform = [0, 1] }", "must be above 0"),
        ("[space]\ntrain.lr = { uniform = [0, 1], integer = [1, 2] }", "write one range.* there are 2"),
        ("[space]\ntrain.lr = {}", "write one range.* there are 0"),
        (
            "[space]\ntrain.lr = { integer = [0.5, 2] }",
            "space.train.lr.integer.0: input should be a valid integer",
        ),
        ("[space]\ntrain.lr = 0.1", r"space.train.lr: write a list of values or a range"),
        ("[space]\ntrain.lr = []", "space.train.lr: the list is empty"),
        ("[space]\ntrain.lr = [1.0, 1.0]", "space.train.lr: a value is there twice"),
        (
            "[space]\nfusion = [{name='late'}]\n'fusion.name' = ['cmrl']",
            "fusion and fusion.name set the same thing",
        ),
        ("[space]\n'train..lr' = [1.0]", "'train..lr' is no setting"),
        (f"[space]\ntrain.lr = {list(range(1, 102))}\ntrain.epochs = {list(range(1, 102))}", "the grid has 10201"),
        (
            "[sweep]\nsearch='random'\ntrials=5\n[space]\ntrain.epochs={integer=[1, 3]}",
            "hardly more than 3 different",
        ),
        ("[train]\nprotocol = 'published'\n[space]\ntrain.lr = [1.0]", "a sweep needs 'honest'"),
        (
            "[space]\ntrain.lrr = [1.0]",
            r"train.lrr: unknown key .did you mean 'lr'.* \(in .*sweep.toml, \[space\]\)",
        ),
        ("[space]\ntrian.lr = [1.0]", r"trian: unknown key .did you mean 'train'"),
        ("[space]\ntrain.lr = [-1.0]", r"train.lr: input should be greater than 0, got -1.0 \(in .*\[space\]\)"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path, text).trials()
    assert str(tmp_path) in str(caught.value)


def test_a_setting_of_the_command_line_that_varies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--set train.lr=1: \[space\] varies train.lr; .*space.train.lr"):
        read(tmp_path, FILE, "train.lr=1")


ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_the_documented_sweep_can_be_assembled(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (text,) = re.findall(r"^```toml\n(.*?)^```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    wanted = read(tmp_path, text)
    assert len(sweep.check(wanted.trials(), quiet())) == 20


def test_all_that_a_file_may_say_is_documented() -> None:
    for key, field in sweep.SweepSection.model_fields.items():
        default = {"grid": '`"grid"`', "validation_accuracy": '`"validation_accuracy"`', None: ""}.get(
            field.default, f"`{field.default}`"
        )
        assert f"\n| `{key}` | {default}" in DOCUMENT
    for key in space.Range.model_fields:
        assert f"\n| `{{ {key} = [low, high] }}` |" in DOCUMENT


# A directory -----------------------------------------------------------------------------------------


def test_every_trial_is_assembled_before_the_first_is_trained(tmp_path: Path) -> None:
    text = '[dataset]\nname = "blobs"\n[space]\nfusion.name = ["late", "cmrl"]\nfusion.gate = [1.0]\n'
    with pytest.raises(
        UserError, match=r"trial-001 \(fusion.name = late, fusion.gate = 1.0\): fusion.gate: unknown"
    ):
        claim(read(tmp_path, text), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_space_or_configuration_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    claim(read(tmp_path), out)
    claim(read(tmp_path, FILE, "sweep.metric=validation_loss", "sweep.parallel=3", "sweep.seed=0"), out)
    for change, said in (
        ("space.train.lr=[0.01, 0.03]", r"space.train.lr was \[0.01, 0.02\], is \[0.01, 0.03\]"),
        ("space.train.weight_decay=[0.1]", "space.train.weight_decay was not there"),
        ("sweep.seed=1", "seed was 0, is 1"),
        ("train.epochs=3", "train.epochs was 2, is 3"),
    ):
        with pytest.raises(UserError, match=rf"out: has the sweep of another .*{said}.* -o"):
            claim(read(tmp_path, FILE, change), out)
    (out / "sweep.json").write_text("{")
    with pytest.raises(UserError, match=r"sweep.json: damaged"):
        claim(read(tmp_path), out)


def test_more_random_trials_of_the_same_space_are_added(tmp_path: Path) -> None:
    claim(read(tmp_path, RANDOM), tmp_path / "out")
    claim(read(tmp_path, RANDOM, "sweep.trials=8"), tmp_path / "out")


def test_a_directory_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"out: there is something already; .* -o"):
        claim(read(tmp_path), tmp_path / "out")


def test_one_process_runs_a_sweep(tmp_path: Path) -> None:
    place = sweep.Place(tmp_path / "out")
    with place.locked(), pytest.raises(UserError, match="another process runs this sweep"), place.locked():
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="there is something already"), sweep.Place(tmp_path / "file").locked():
        pass


# Trials, in this process -----------------------------------------------------------------------------


def test_trials_are_runs_and_the_table_ranks_them(tmp_path: Path) -> None:
    wanted = read(tmp_path, FILE, "space.neuron.threshold=[0.3]")
    place = work(wanted, tmp_path / "out")
    summary = report.summarize(wanted, wanted.trials(), place)
    assert summary["count"] == {"done": 2, "failed": 0, "stopped": 0, "waiting": 0}
    ranks = [(-trial["validation_accuracy"], trial["validation_loss"]) for trial in summary["trials"]]
    assert ranks == sorted(ranks)
    assert summary["best"] == summary["trials"][0]["trial"]
    by_loss = read(tmp_path, FILE, "space.neuron.threshold=[0.3]", "sweep.metric=validation_loss")
    losses = [t["validation_loss"] for t in report.summarize(by_loss, by_loss.trials(), place)["trials"]]
    assert losses == sorted(losses)
    for trial in summary["trials"]:
        lines = place.run(trial["trial"]).metrics()
        assert lines[-1]["accuracy"] == trial["test_accuracy"]
        assert lines[trial["best_epoch"] - 1]["validation_accuracy"] == trial["validation_accuracy"]

    report.write(summary, tmp_path / "out", "the command")
    table = (tmp_path / "out" / "results.md").read_text()
    best = summary["trials"][0]
    assert "| trial | train.lr | neuron.threshold | validation accuracy, % | test accuracy, % |" in table
    assert f"| {best['trial']} | {best['settings']['train.lr']} |" in table
    assert all(words in table for words in ("honest", "the command", "torch ", "ray ", "train.seed 42"))
    assert json.loads((tmp_path / "out" / "results.json").read_text())["best"] == best["trial"]
    assert (tmp_path / "out" / "results.png").read_bytes().startswith(b"\x89PNG")


def test_what_fails_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FILE.replace("[0.01, 0.02]", "[0.01, 1e20]").replace("[0.25, 0.3]", "[0.3]")
    wanted = read(tmp_path, text)
    place = work(wanted, tmp_path / "out")
    (_, failed) = summary = report.summarize(wanted, wanted.trials(), place)["trials"]
    assert [trial["status"] for trial in summary] == ["done", "failed"]
    assert "in epoch 1, step" in failed["reason"]
    assert len(failed["reason"].splitlines()) == 1

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(worker, "Training", fail)
    before = place.result_file("trial-001").stat().st_mtime_ns
    work(wanted, tmp_path / "out")
    assert place.result_file("trial-001").stat().st_mtime_ns == before  # what is through is not done again
    again = sweep.outcome(place, wanted.trials()[1])
    assert again["reason"].startswith("not enough memory: ")
    assert "MemoryError" in place.log_file("trial-002").read_text()


def test_a_result_of_another_configuration_is_refused(tmp_path: Path) -> None:
    wanted = read(tmp_path, FILE.replace("[0.01, 0.02]", "[0.01]").replace("[0.25, 0.3]", "[0.3]"))
    file = work(wanted, tmp_path / "out").result_file("trial-001")
    known = json.loads(file.read_text())
    known["config"]["train"]["epochs"] = 9
    file.write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"trial-001.json: made with another configuration"):
        claim(wanted, tmp_path / "out")
    file.write_text("{")
    with pytest.raises(UserError, match="not a result"):
        claim(wanted, tmp_path / "out")


class FakeRay:
    """Machines with so many cores and GPUs."""

    def __init__(self, *machines: tuple[float, float]) -> None:
        self.machines = machines

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": cpu, "GPU": gpu}} for cpu, gpu in self.machines]


@pytest.mark.parametrize(
    ("machines", "section", "device", "count", "shares"),
    [
        ([(2, 0)], {}, "auto", 8, (1, 0, 2)),
        ([(8, 0)], {}, "auto", 3, (2, 0, 3)),
        ([(8, 0)], {"parallel": 2}, "auto", 8, (4, 0, 2)),
        ([(8, 0)], {"cpus": 3}, "auto", 8, (3, 0, 2)),
        ([(8, 2)], {}, "auto", 8, (4, 1, 2)),
        ([(8, 2)], {"gpus": 0.5}, "cuda", 8, (2, 0.5, 4)),
        ([(8, 2)], {}, "cpu", 8, (1, 0, 8)),
        ([(4, 1), (4, 1), (16, 0)], {}, "auto", 8, (4, 1, 2)),
        ([(4, 1), (16, 0)], {"gpus": 0.0, "parallel": 3}, "auto", 8, (5, 0, 3)),
        ([(3, 0), (3, 0)], {"parallel": 4}, "auto", 8, (1, 0, 4)),
    ],
)
def test_trials_share_what_is_there(
    machines: list[tuple[float, float]], section: dict[str, Any], device: str, count: int, shares: tuple[Any, ...]
) -> None:
    found = ray_tune._shares(FakeRay(*machines), sweep.SweepSection(**section), count, device)
    assert (found.cpus, found.gpus, found.parallel) == shares


@pytest.mark.parametrize(
    ("section", "device", "said"),
    [
        ({"cpus": 4}, "auto", "no machine has 4 cores and 0 GPUs for a trial, there are 2 cores and 0 GPUs; set"),
        ({"gpus": 1.0}, "auto", "no machine has 1 cores and 1 GPUs for a trial"),
        ({}, "cuda", "--device cuda: no trial gets a GPU"),
    ],
)
def test_what_no_machine_has_is_refused(section: dict[str, Any], device: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ray_tune._shares(FakeRay((2, 0)), sweep.SweepSection(**section), 8, device)


def test_why_a_process_ended_is_one_line() -> None:
    from ray import exceptions

    assert ray_tune._why(exceptions.ActorDiedError(), 2).startswith("its process was killed, 3 times: is there")
    assert ray_tune._why(exceptions.OutOfMemoryError("node"), 0).startswith("its process was stopped because the")
    error = exceptions.RayTaskError("f", "Traceback:\n  File\nModuleNotFoundError: No module named 'x'", None)
    assert ray_tune._why(error, 0) == "its process could not run: ModuleNotFoundError: No module named 'x'"

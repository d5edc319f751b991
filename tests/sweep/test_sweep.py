"""The file of a sweep: its trials, and what is refused."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from sweep_files import FILE, RANDOM, quiet, read

from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep import prepare, space, sweep


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


def test_complete_sections_and_single_losses_can_vary(tmp_path: Path) -> None:
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
    parsed = read(tmp_path, text, "train.epochs=7", "sweep.seed=5", "space.train.batch_size=[4]")
    assert (parsed.section.search, parsed.section.trials, parsed.section.seed) == ("random", 3, 5)
    assert {(t.config.train.lr, t.config.train.epochs, t.config.train.batch_size) for t in parsed.trials()} == {
        (0.1, 7, 4)
    }


def test_draws_follow_from_the_seed_alone(tmp_path: Path) -> None:
    points = [trial.settings for trial in read(tmp_path, RANDOM).trials()]
    assert points == [trial.settings for trial in read(tmp_path, RANDOM).trials()]
    more = [trial.settings for trial in read(tmp_path, RANDOM, "sweep.trials=9").trials()]
    assert more[:6] == points
    assert points != [trial.settings for trial in read(tmp_path, RANDOM, "sweep.seed=1").trials()]
    # Known numbers: the same on every machine, and sweeps that users have begun resume.
    assert points[0] == {
        "train.lr": 0.0006507,
        "train.batch_size": 6,
        "train.weight_decay": 0.0213,
        "fusion.name": "cmrl",
    }


@pytest.mark.parametrize(
    ("text", "message"),
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
        ("[space]\ntrain.lr = [1.0, 1.0]", "space.train.lr: a value is listed twice"),
        (
            "[space]\nfusion = [{name='late'}]\n'fusion.name' = ['cmrl']",
            "fusion and fusion.name set the same thing",
        ),
        ("[space]\n'train..lr' = [1.0]", "'train..lr' is not a setting"),
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
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
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
    parsed = read(tmp_path, text)
    assert len(prepare.check(parsed.trials(), quiet())) == 20


def test_all_that_a_file_may_say_is_documented() -> None:
    for key, field in sweep.SweepSection.model_fields.items():
        default = {"grid": '`"grid"`', "validation_accuracy": '`"validation_accuracy"`', None: ""}.get(
            field.default, f"`{field.default}`"
        )
        assert f"\n| `{key}` | {default}" in DOCUMENT
    for key in space.Range.model_fields:
        assert f"\n| `{{ {key} = [low, high] }}` |" in DOCUMENT

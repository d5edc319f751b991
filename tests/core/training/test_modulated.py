"""Training with a modulation: its cost, what is refused, resuming, mixed precision and several processes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from modulation_cases import acting, gradients, rig
from safetensors.torch import load_file
from torch import Tensor
from trainings import CPU, fit, quiet, trainer

from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import create_run, open_run
from scmrl_plugins.core.training import plan
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.core.training.modulated import ModulatedStep
from scmrl_plugins.core.training.step import Plain, Step, StepResult
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
LATE = {"name": "late"}
FROZEN = 'train.freeze=["audio", "visual"]'


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())


def trained(parts: Assembly, path: Path) -> dict[str, Tensor]:
    run = create_run(path, parts)
    fit(run, parts)
    return load_file(run.weights_file)


def test_none_is_the_step_without_a_modulation(small: Small) -> None:
    learner = Training(small(), CPU, quiet()).learner
    assert type(learner.step) is Step
    assert list(learner.module) == ["model", "loss"]


@pytest.mark.slow
def test_a_factor_of_one_changes_nothing_to_the_bit(small: Small, tmp_path: Path) -> None:
    """The step with a modulation is the one without, but for what the modulation does."""
    for name, sets in (("clipped", ["train.accumulate=2", "train.clip_grad=0.1"]), ("mixed", ["data.mixup=0.4"])):
        sets = ["train.epochs=1", "train.batch_size=20", *sets]
        plain, idle, strong = (
            trained(small(sets=sets, fusion=LATE, modulation=section), tmp_path / f"{name}-{index}")
            for index, section in enumerate(
                (
                    {"name": "none"},
                    {"name": "ogm-ge", "alpha": 0.0, "noise": False},
                    {"name": "ogm-ge", "alpha": 5.0, "noise": False},
                )
            )
        )
        assert same(plain, idle)
        assert not same(plain, strong)


class Scaled(Plain):
    """What accelerate does in half precision: the loss is scaled, and so are the gradients."""

    scaler: Any = SimpleNamespace(get_scale=lambda: 8.0)

    def backward(self, loss: Tensor, **options: Any) -> None:
        (8 * loss).backward(**options)


def test_a_modulation_sees_gradients_that_are_not_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rig("mmpareto")
    plain = gradients(made, [0, 1])
    seen: list[Any] = []
    combine = made.modulation.combine
    monkeypatch.setattr(made.modulation, "combine", lambda *given: seen.append(given[0]) or combine(*given))
    gradients(made, [0, 1])
    made.step.accelerator = Scaled()
    made.optimizer.step_was_skipped = False  # type: ignore[attr-defined]
    scaled = gradients(made, [0, 1])
    for loss, parts in seen[0].items():
        for part, named in parts.items():
            for name, g in named.items():
                assert torch.equal(g, seen[1][loss][part][name])
    assert all(torch.equal(8 * g, scaled[name]) for name, g in plain.items())


def test_a_run_of_before_is_resumed_without_a_modulation(small: Small, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", small())
    text = re.sub(r"(?s)\[modulation\]\n.*?\n\n", "", run.config_file.read_text(encoding="utf-8"))
    assert "modulation" not in text
    run.config_file.write_text(text, encoding="utf-8")
    parts = open_run(run.path).assemble()
    assert parts.modulation is None
    assert parts.config.modulation.name == "none"


@pytest.mark.parametrize(
    ("sets", "fusion", "words"),
    [
        (["train.cache_tokens=true", FROZEN], "late", "train.cache_tokens: modulation"),
        ([], "visual", "balances two modalities, and fusion 'visual' uses visual alone"),
        ([FROZEN], "late", "train.freeze leaves none that does"),
    ],
)
def test_what_it_cannot_balance_is_refused(small: Small, sets: list[str], fusion: str, words: str) -> None:
    parts = small(sets=sets, fusion={"name": fusion}, modulation={"name": "ogm-ge"})
    with pytest.raises(UserError, match=words):
        Training(parts, CPU, quiet())


def test_the_plan_says_what_it_costs(small: Small) -> None:
    rows = dict(plan.describe(small(fusion=LATE, modulation={"name": "ogm-ge"}), CPU, 1))
    assert rows["modulation"].startswith("ogm-ge: 1 forward, 1 backward a batch; what each modality says alone")
    assert "modulation" not in dict(plan.describe(small(fusion=LATE), CPU, 1))


class StoppedError(Exception):
    """Instead of a kill."""


def settings(name: str, small: Small, folder: Path) -> dict[str, Any]:
    """The section of a modulation; that of g2d with teachers, which are trained in the folder."""
    teachers = {modality: str(folder / modality) for modality in MODALITIES}
    if name != "g2d":
        return {"name": name}
    for modality, path in teachers.items():
        if not Path(path).exists():
            trained(small(sets=["train.epochs=1"], fusion={"name": modality}), Path(path))
    return {"name": name, "teachers": teachers}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["agm", "g2d", "pmr"])  # scores by step, teachers, and what an epoch observes
def test_a_run_that_is_killed_resumes_to_the_bit(small: Small, tmp_path: Path, name: str) -> None:
    sets = ["train.epochs=2", "train.checkpoint_steps=1", "train.accumulate=2", "train.batch_size=10"]
    options: Any = {"sets": sets, "fusion": LATE, "modulation": settings(name, small, tmp_path)}
    parts = small(**options)
    whole = create_run(tmp_path / "whole", parts)
    fit(whole, parts)
    run = create_run(tmp_path / "killed", small(**options))
    taken = 0

    def killed(_training: Any, step: Callable[[], StepResult], _batches: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken > 4:  # in the second epoch
            raise StoppedError
        return step()

    with pytest.raises(StoppedError):
        fit(run, run.assemble(), killed)
    fit(run)
    (*_, last), (*_, expected) = run.checkpoints(), whole.checkpoints()
    assert same(load_file(last), load_file(expected))


@pytest.mark.slow
def test_all_work_in_bf16_and_with_a_fusion_that_interacts(small: Small, tmp_path: Path) -> None:
    for name in acting():
        sets = ["train.epochs=1", "train.precision=bf16", "train.batch_size=48"]
        parts = small(sets=sets, fusion={"name": "cmrl"}, modulation=settings(name, small, tmp_path))
        training = trainer(parts)
        training.prepare()
        assert isinstance(training.learner.modulated, ModulatedStep)
        weights = {key: x.clone() for key, x in training.learner.module["model"].named_parameters()}
        run = create_run(tmp_path / name, parts)
        training.fit(run)
        after = dict(training.learner.module["model"].named_parameters())
        moved = {key.split(".")[1] for key, x in after.items() if not x.equal(weights[key])}
        assert moved >= {"audio", "visual"}, name
        assert all(x.isfinite().all() for x in load_file(run.weights_file).values())


@pytest.mark.slow
@pytest.mark.numerical
def test_two_processes_train_as_one(small: Small, tmp_path: Path, forked: Callable[..., dict[str, Any]]) -> None:
    """One step on a batch that both share: the same weights up to rounding, and the same in both."""
    runs = {}
    for name in acting():
        section = settings(name, small, tmp_path)
        sets = ["train.epochs=1", "train.batch_size=48", "fusion.name=late", "train.optimizer=sgd"]
        sets += [f"modulation.name={name}"]
        sets += [f"modulation.teachers.{key}={path}" for key, path in section.get("teachers", {}).items()]
        runs[name] = sets
        trained(small(sets=sets), tmp_path / "one" / name)
    first, *others = runs
    further = {name: runs[name] for name in others}
    (tmp_path / "two").mkdir()
    done = forked(run=tmp_path / "two" / first, sets=runs[first], processes=2, further=further)
    assert done["code"] == 0, done["error"]
    for name in runs:
        one, two = (load_file(tmp_path / count / name / "model.safetensors") for count in ("one", "two"))
        for key, x in one.items():
            torch.testing.assert_close(two[key], x, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        ({}, r"modulation 'g2d' needs a run of each modality alone: .* \(audio and visual missing\)"),
        ({"audio": "nowhere", "visual": "nowhere"}, "modulation.teachers.audio = nowhere: nowhere: no run there"),
    ],
)
def test_teachers_that_are_missing(small: Small, teachers: dict[str, str], words: str) -> None:
    parts = small(fusion=LATE, modulation={"name": "g2d", "teachers": teachers})
    with pytest.raises(UserError, match=words):
        Training(parts, CPU, quiet())


@pytest.mark.slow
def test_teachers_that_do_not_fit(small: Small, tmp_path: Path) -> None:
    section = settings("g2d", small, tmp_path)
    untrained = create_run(tmp_path / "untrained", small(fusion={"name": "audio"}))
    wrong = {
        "not trained to the end": (str(untrained.path), []),
        "its model uses visual; a teacher of audio uses audio alone": (section["teachers"]["visual"], []),
        "model.embed_dims is 8 in that run and 16 here": (section["teachers"]["audio"], ["model.embed_dims=16"]),
        "dataset.seed is 0 in that run and 1 here": (section["teachers"]["audio"], ["dataset.seed=1"]),
    }
    for words, (path, sets) in wrong.items():
        given = {**section, "teachers": {**section["teachers"], "audio": path}}
        with pytest.raises(UserError, match=f"modulation.teachers.audio = {re.escape(path)}: {words}"):
            Training(small(sets=sets, fusion=LATE, modulation=given), CPU, quiet())

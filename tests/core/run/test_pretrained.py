"""Modalities that start from the weights of another run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blob_data import Blobs
from torch import Tensor, nn
from trainings import fit, trainer

from scmrl_plugins.cli.common.training import fit as command_fit
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run import pretrained
from scmrl_plugins.core.run.directory import Run, create_run, load_pretrained, open_run
from scmrl_plugins.core.run.pretrained import file_digest
from scmrl_plugins.core.system.interrupts import Interrupted
from scmrl_plugins.core.training.loop import Training
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def trained(small: Small, path: Path, **sections: Any) -> Run:
    parts = small(sets=["train.epochs=1"], **sections)
    run = create_run(path, parts)
    fit(run, parts)
    return run


@pytest.fixture
def audio(small: Small, tmp_path: Path) -> Run:
    """A run of audio alone."""
    return trained(small, tmp_path / "audio", fusion={"name": "audio"})


def weights(model: nn.Module, *parts: str) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in model.state_dict().items() if name.startswith(parts)}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(x, other[name]) for name, x in one.items())


AUDIO = ("encoders.audio", "backbones.audio")


@pytest.mark.slow
def test_one_modality_has_the_weights_of_the_run_and_the_rest_is_new(
    small: Small, tmp_path: Path, audio: Run
) -> None:
    parts, fresh = small(train={"pretrained": {"audio": str(audio.path)}}), small()
    source = audio.load_model()
    run = create_run(tmp_path / "both", parts)
    model = run.load_model()
    assert same(weights(model, *AUDIO), weights(source, *AUDIO))
    assert not same(weights(model, *AUDIO), weights(fresh.model, *AUDIO))
    others = ("backbones.visual", "fusion", "readout")
    assert same(weights(model, *others), weights(fresh.model, *others))
    origin = json.loads((run.path / "environment.json").read_text())["pretrained"]
    digest = file_digest(audio.weights_file)
    assert origin == {"audio": {"run": str(audio.path), "sha256": digest, "parts": ["encoder", "backbone"]}}
    assert open_run(run.path).config().train.pretrained == {"audio": str(audio.path)}


def test_a_head_for_the_modality_alone_is_copied(small: Small, audio: Run) -> None:
    parts = small(fusion={"name": "audio"}, train={"pretrained": {"audio": str(audio.path)}})
    assert load_pretrained(parts)["audio"]["parts"] == ["encoder", "backbone", "head"]
    assert same(weights(parts.model, "readout"), weights(audio.load_model(), "readout"))
    parts.model.classes = ("other", "classes", "here")
    assert load_pretrained(parts)["audio"]["parts"] == ["encoder", "backbone"]


@pytest.mark.slow
def test_training_starts_there_whoever_created_the_run(small: Small, tmp_path: Path, audio: Run) -> None:
    sets = ['train.freeze=["audio"]', "train.epochs=2", "train.ema=0.9"]
    pretrained = {"pretrained": {"audio": str(audio.path)}}
    ends = []
    for name in ("one", "other"):
        parts = small(sets=sets, train=pretrained)
        creates = parts if name == "one" else small(sets=sets, train=pretrained)  # as another process
        run = create_run(tmp_path / name, creates)
        fit(run, parts)
        ends.append(run)
    assert ends[0].weights_file.read_bytes() == ends[1].weights_file.read_bytes()
    assert same(weights(ends[0].load_model(), *AUDIO), weights(audio.load_model(), *AUDIO))


def test_a_new_run_reads_the_other_once(
    small: Small, tmp_path: Path, audio: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    initialise = pretrained.initialise
    monkeypatch.setattr(pretrained, "initialise", lambda *given: loaded.append(given) or initialise(*given))

    def stop(training: Training, run: Run) -> None:
        raise Interrupted

    monkeypatch.setattr(Training, "fit", stop)
    parts = small(train={"pretrained": {"audio": str(audio.path)}})
    with pytest.raises(Interrupted):
        command_fit(parts, torch.device("cpu"), tmp_path / "run")
    assert len(loaded) == 1
    assert same(weights(Run(tmp_path / "run").load_model(), *AUDIO), weights(audio.load_model(), *AUDIO))
    described = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert described["pretrained"]["audio"]["sha256"] == file_digest(audio.weights_file)


@pytest.mark.slow
def test_a_resumed_run_does_not_read_the_other_again(small: Small, tmp_path: Path, audio: Run) -> None:
    run = create_run(tmp_path / "run", small(train={"pretrained": {"audio": str(audio.path)}}))
    audio.path.rename(tmp_path / "moved")
    fit(run)
    assert run.metrics()[-1]["split"] == "test"


def refused(parts: Assembly) -> str:
    before = weights(parts.model, "")
    with pytest.raises(UserError) as caught:
        load_pretrained(parts)
    assert same(weights(parts.model, ""), before)
    message = str(caught.value)
    assert "\n" not in message
    return message


DIFFERENCES: list[tuple[dict[str, Any], str]] = [
    ({"model": {"embed_dims": 16}}, "model.embed_dims is 8 in that run and 16 here; make them equal"),
    ({"model": {"steps": 3}}, "model.steps is 2 in that run and 3 here"),
    ({"neuron": {"threshold": 0.5}}, "neuron.threshold is 0.3 in that run and 0.5 here"),
    ({"neuron": {"name": "if"}}, "neuron.name is neurons:lif in that run and neurons:if here"),
    ({"encoder": {"name": "rate"}}, "encoder.name is encoders:direct in that run and encoders:rate here"),
    ({"backbone": {"depth": 1}}, "backbone.depth is 0 in that run and 1 here"),
    ({"dataset": {"spread": 0.5}}, "dataset.spread is 0.3 in that run and 0.5 here"),
    ({"train": {"protocol": "published"}}, "train.protocol is honest in that run and published here"),
    ({"fusion": {"name": "visual"}}, "the fusion does not use audio; remove it"),
]


@pytest.mark.slow
def test_what_does_not_fit_is_one_line_with_both_values(small: Small, audio: Run) -> None:
    for sections, says in DIFFERENCES:
        train = {**sections.get("train", {}), "pretrained": {"audio": str(audio.path)}}
        message = refused(small(**{**sections, "train": train}))
        assert message.startswith(f"train.pretrained.audio = {audio.path}: {says}")


def test_another_front_end_is_refused(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs of the same stored arrays that differ by a setting show a missing modality differently."""
    monkeypatch.setattr(Blobs, "transform_key", lambda blobs: {"version": 1}, raising=False)
    monkeypatch.setattr(
        Blobs,
        "blank",
        property(lambda blobs: dict.fromkeys(("audio", "visual"), np.full((1, 1, 1), blobs.config.spread))),
        raising=False,
    )
    audio = trained(small, tmp_path / "audio", fusion={"name": "audio"})
    pretrained = {"pretrained": {"audio": str(audio.path)}}
    assert load_pretrained(small(train=pretrained)).keys() == {"audio"}
    message = refused(small(train=pretrained, dataset={"spread": 0.5}))
    assert "the input for no audio (dataset.standardize or the like) is [0.3] in that run and [0.5]" in message
    message = refused(small(train=pretrained, dataset={"seed": 3}))
    assert "dataset.seed is 0 in that run and 3 here" in message  # other samples may be for training


def test_a_run_that_is_missing_or_not_trained_is_refused(small: Small, tmp_path: Path) -> None:
    missing = small(train={"pretrained": {"audio": "nowhere"}})
    assert refused(missing).startswith("train.pretrained.audio = nowhere: nowhere: no run there")
    created = create_run(tmp_path / "new", small(fusion={"name": "audio"}))
    assert "not trained to the end; resume it with" in refused(
        small(train={"pretrained": {"audio": str(created.path)}})
    )
    visual = trained(small, tmp_path / "visual", fusion={"name": "visual"})
    parts = small(train={"pretrained": {"audio": str(visual.path)}})
    assert "that run does not use audio" in refused(parts)


@pytest.mark.slow
def test_the_feed_forward_part_may_learn_where_the_rest_is_frozen(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=1", 'train.freeze=["audio"]', "train.freeze_feed_forward=false"])
    before = weights(parts.model, "")
    training = trainer(parts)
    training.fit(create_run(tmp_path / "run", parts))
    moved = {name for name, x in parts.model.state_dict().items() if not torch.equal(x, before[name])}
    inside = {name for name in moved if name.startswith(AUDIO)}
    assert all(name.startswith("backbones.audio.mlp.") for name in inside)
    assert {name.rpartition(".")[2] for name in inside} >= {"weight", "running_mean"}

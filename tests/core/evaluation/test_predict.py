"""Predictions for files are those of the model."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from blob_data import Blobs
from rich.console import Console

import scmrl_plugins
from scmrl_plugins.core.evaluation.evaluate import Evaluation
from scmrl_plugins.core.evaluation.predict import predict
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import train
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def fit(run: Run, parts: Assembly) -> Evaluation:
    return train(run, parts, torch.device("cpu"), Progress(Console(file=io.StringIO())))


@pytest.mark.slow
def test_predictions_agree_with_the_model(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=2"])
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    row = parts.dataset.splits()["test"][1]
    paths = {name: tmp_path / f"{name}.npy" for name in ("audio", "visual")}
    for name, path in paths.items():
        np.save(path, np.asarray(row[name]))
    found = predict(run.assemble(), paths["audio"], paths["visual"], torch.device("cpu"))

    inputs = {name: torch.tensor([row[name]], dtype=torch.float32) for name in paths}
    expected = scmrl_plugins.load(run.path)(**inputs).logits[0].softmax(0)
    assert {line["label"] for line in found} == set(Blobs.classes)
    assert [line["probability"] for line in found] == sorted(expected.tolist(), reverse=True)
    assert found[0]["label"] == Blobs.classes[int(expected.argmax())]
    assert sum(line["probability"] for line in found) == pytest.approx(1, abs=1e-6)


def test_predictions_ask_for_what_the_model_needs(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "visual.npy"
    np.save(path, np.zeros((2, 8, 8)))
    with pytest.raises(UserError, match="'cmrl' needs audio: give --audio FILE"):
        predict(small(), None, path, torch.device("cpu"))
    with pytest.raises(UserError, match="no such file"):
        predict(small(), tmp_path / "nowhere.npy", path, torch.device("cpu"))
    alone = small(fusion={"name": "visual"})
    assert len(predict(alone, None, path, torch.device("cpu"))) == 3
    assert len(predict(alone, tmp_path / "nowhere.npy", path, torch.device("cpu"))) == 3

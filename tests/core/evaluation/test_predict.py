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
from scmrl_plugins.core.evaluation.alone import alone, without
from scmrl_plugins.core.evaluation.evaluate import Evaluation
from scmrl_plugins.core.evaluation.predict import Failure, Prediction, Predictor, Ranked, predict
from scmrl_plugins.core.interfaces import Files
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import train
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
CPU = torch.device("cpu")


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


@pytest.fixture
def several(tmp_path: Path) -> list[Files]:
    """Five samples, the second without its sound, whose file is gone."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(5):
        paths = {name: tmp_path / f"{name}{index}.npy" for name in ("audio", "visual")}
        np.save(paths["audio"], rng.normal(size=(1, 8, 8)))
        np.save(paths["visual"], rng.normal(size=(2, 8, 8)))
        found.append(Files(str(index), **paths))
    (tmp_path / "audio1.npy").unlink()
    return found


def tensors(files: Files) -> dict[str, torch.Tensor]:
    paths = {"audio": files.audio, "visual": files.visual}
    return {n: torch.tensor(np.load(path), dtype=torch.float32)[None] for n, path in paths.items() if path}


def probabilities(ranked: Ranked) -> torch.Tensor:
    by_label = {entry["label"]: entry["probability"] for entry in ranked}
    return torch.tensor([by_label[label] for label in Blobs.classes])


def test_batches_keep_order_and_leave_out_only_what_is_bad(small: Small, several: list[Files]) -> None:
    parts = small()
    predictor = Predictor(parts, CPU)
    batches = list(predictor.predictions(predictor.samples(several), 2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    found = [one for batch in batches for one in batch]
    assert [one.name for one in found] == list("01234")
    [failure] = [one for one in found if isinstance(one, Failure)]
    assert failure.name == "1"
    assert "audio1.npy: no such file" in failure.reason
    for one, files in zip(found, several, strict=True):
        if isinstance(one, Prediction):
            expected = parts.model(**tensors(files)).logits.softmax(1)[0]
            torch.testing.assert_close(probabilities(one.ranked), expected)


def test_a_missing_modality_is_the_share_of_the_other_where_nothing_crosses(
    small: Small, several: list[Files]
) -> None:
    parts = small(fusion={"name": "late"})
    apart, _ = alone(parts.model.eval(), tensors(several[0]), parts.dataset.blank)
    for name in ("audio", "visual"):
        given = {"audio": None, "visual": None, name: vars(several[0])[name]}
        found = predict(parts, **given, device=CPU)
        torch.testing.assert_close(probabilities(found), apart[name][0].softmax(0))  # type: ignore[index]


def test_a_missing_modality_is_blank_where_training_left_it_out(small: Small, several: list[Files]) -> None:
    parts = small(sets=["data.modality_dropout={visual=0.2}"])
    found = predict(parts, several[0].audio, None, CPU)
    expected = without(parts.model.eval(), tensors(several[0]), parts.dataset.blank, "visual").logits
    torch.testing.assert_close(probabilities(found), expected.softmax(1)[0])
    with pytest.raises(UserError, match="'cmrl' needs audio"):
        predict(parts, None, several[0].visual, CPU)
    # Complete and incomplete samples in one batch.
    predictor = Predictor(parts, CPU)
    half = Files("half", several[0].audio)
    [[first, second]] = predictor.predictions(predictor.samples([half, several[2]]))
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    torch.testing.assert_close(probabilities(first.ranked), probabilities(found))
    expected = parts.model(**tensors(several[2])).logits
    torch.testing.assert_close(probabilities(second.ranked), expected.softmax(1)[0])


def test_random_draws_are_the_same_each_time(small: Small, several: list[Files]) -> None:
    parts = small(encoder={"name": "rate"})
    before = torch.default_generator.get_state()
    first = predict(parts, several[0].audio, several[0].visual, CPU)
    assert torch.equal(torch.default_generator.get_state(), before)
    torch.manual_seed(5)
    assert predict(parts, several[0].audio, several[0].visual, CPU) == first


def test_what_is_not_finite_is_not_a_prediction(small: Small, several: list[Files], tmp_path: Path) -> None:
    parts = small()
    np.save(tmp_path / "nan.npy", np.full((1, 8, 8), np.nan))
    predictor = Predictor(parts, CPU)
    bad = Files("nan", tmp_path / "nan.npy", several[0].visual)
    [[one, two]] = predictor.predictions(predictor.samples([bad, several[0]]))
    assert isinstance(one, Failure)
    assert "audio has values that are not finite" in one.reason
    assert isinstance(two, Prediction)
    with torch.no_grad():
        next(parts.model.readout.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="its weights are damaged or diverged"):
        predict(parts, several[0].audio, several[0].visual, CPU)

"""Runs in other formats: files that compute what the model computes, for batches of any size and several T."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.export import exporting
from scmrl_plugins.export.exporting import export
from scmrl_plugins.export.formats import FORMATS
from scmrl_plugins.export.formats import safetensors as tensors
from scmrl_plugins.registry import UserError

Make = Callable[..., Run]


def written(run: Run, name: str, steps: int | None = None) -> tuple[exporting.Exported, Path]:
    path = run.path / f"file{FORMATS[name].ending}"
    return export(run, name, path, steps=steps, progress=Progress.silent()), path


def logits(model: AudioVisualModel, batch: int) -> tuple[dict[str, Tensor], Tensor]:
    inputs = random_inputs(model, torch.device("cpu"), batch, seed=batch)
    with torch.no_grad():
        return inputs, model.eval()(**inputs).logits


@pytest.mark.slow
@pytest.mark.numerical
def test_onnxruntime_computes_the_logits_of_any_batch(make: Make) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = make(fusion={"name": "late"})
    exported, path = written(run, "onnx")
    assert exported.inputs == {"audio": ["batch", 1, 8, 8], "visual": ["batch", 2, 8, 8]}
    assert exported.outputs == {"logits": ["batch", 3]}
    assert exported.as_dict()["verified"] == exported.comparison.same_top1 == 18
    assert exported.comparison.source == "test split"
    session = onnxruntime.InferenceSession(path)
    assert {one.name for one in session.get_inputs()} == {"audio", "visual"}
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == ["one", "two", "three"]
    assert metadata["steps"] == "2"
    for batch in (1, 5):
        inputs, expected = logits(run.load_model(), batch)
        [found] = session.run(["logits"], {name: x.numpy() for name, x in inputs.items()})
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=0)
    assert expected.std(0).max() > 0  # the samples differ


@pytest.mark.slow
def test_a_program_of_another_number_of_steps(make: Make) -> None:
    run = make(fusion={"name": "late"}, model={"steps": 1})  # each step is traced
    exported, path = written(run, "torch-export", steps=2)
    assert exported.steps == 2
    assert exported.comparison.max_difference <= 1e-5
    config = run.config()
    assert config.model.steps == 1
    model = exporting._with_steps(run, run.assemble(), 2)
    inputs, expected = logits(model, 1)
    found = torch.export.load(path).module()(**inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(logits(run.load_model(), 1)[1], expected, atol=1e-4)


def test_weights_with_all_that_the_model_is_built_from(make: Make) -> None:
    run = make(fusion={"name": "late"})
    exported, path = written(run, "safetensors")
    assert exported.comparison.max_difference == 0
    inputs, expected = logits(run.load_model(), 4)
    assert torch.equal(tensors.reader(path)(inputs), expected)


def test_a_file_that_computes_something_else_is_not_left(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(fusion={"name": "late"})
    path = run.path / "file.safetensors"
    path.write_text("mine")
    right = tensors.write

    def wrong(model: AudioVisualModel, example: dict[str, Tensor], path: Path) -> None:
        bias = dict(model.named_parameters())["readout.head.bias"]
        before = bias.detach().clone()
        bias.data += torch.tensor([2e-4, 0.0, 0.0])
        right(model, example, path)
        bias.data.copy_(before)

    monkeypatch.setattr(tensors, "write", wrong)
    with pytest.raises(UserError, match=r"does not compute what the model does.*0 within 0\.0001"):
        written(run, "safetensors")
    assert path.read_text() == "mine"
    assert not list(run.path.glob(".*"))


def test_what_is_not_a_number_is_not_equal() -> None:
    nan = torch.full((4, 3), float("nan"))
    found = exporting._compare(lambda inputs: (torch.zeros(4, 3), nan), [{}], "", Progress.silent())
    assert found.within == 0
    assert not found.holds


def test_rounding_excuses_as_many_differences_as_the_model_has_itself() -> None:
    def found(within: int, same: int) -> exporting.Comparison:
        return exporting.Comparison("test split", 100, 0.01, within, same)

    single = found(60, 98)
    assert found(55, 97).as_exact_as(single)
    assert found(100, 100).as_exact_as(single)
    assert not found(30, 98).as_exact_as(single)
    assert not found(60, 80).as_exact_as(single)
    assert not found(90, 90).as_exact_as(found(100, 100))
    assert not found(60, 98).holds
    assert found(99, 100).holds


def test_draws_are_compared_only_where_weights_are_written(make: Make) -> None:
    run = make(fusion={"name": "late"}, encoder={"name": "rate"})
    for name in ("onnx", "torch-export"):
        with pytest.raises(UserError, match=r"encoders\.audio \(Rate\) draws at random"):
            written(run, name)
    assert written(run, "safetensors")[0].comparison.max_difference == 0


def test_a_missing_package_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    with pytest.raises(UserError, match=r"needs onnxruntime, not installed here: pip install"):
        FORMATS["onnx"].load()

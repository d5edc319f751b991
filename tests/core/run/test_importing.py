"""Weights of other programs: published names, nested checkpoints, prefixes, and what does not fit."""

from __future__ import annotations

import argparse
import collections
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Golden
from safetensors.torch import save_file
from torch import Tensor

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.model.reference import reference_parameters
from scmrl_plugins.core.run import checkpoints
from scmrl_plugins.core.run.directory import open_run
from scmrl_plugins.core.run.importing import fill, import_run
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


@pytest.fixture
def source(small: Small) -> Assembly:
    """A model of other weights than those that a configuration starts from."""
    parts = small(sets=["train.seed=7"], fusion={"name": "late"})
    with torch.no_grad():
        for buffer in parts.model.buffers():
            if buffer.is_floating_point():
                buffer += 0.25
    return parts


def imported(small: Small, file: Path, to: Path, **settings: Any) -> tuple[Any, Any, Any]:
    return import_run(file, small(fusion={"name": "late"}).config, to, **settings)


def assert_equal(run: Path, expected: dict[str, Tensor]) -> None:
    state = open_run(run).load_model().state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_common_containers_and_prefixes(small: Small, source: Assembly, tmp_path: Path) -> None:
    state = source.model.state_dict()
    timm = {"epoch": 3, "arch": "x", "args": argparse.Namespace(lr=0.1), "metric": np.float64(0.5)}
    wrapped: dict[str, tuple[Any, str, tuple[str, ...]]] = {
        "a.pt": (state, "", ()),
        "b.pth.tar": (
            {**timm, "state_dict": {f"module.{k}": v for k, v in state.items()}},
            "state_dict",
            ("module.",),
        ),
        "c.pth": (
            {"model": {f"_orig_mod.module.{k}": v for k, v in state.items()}},
            "model",
            ("_orig_mod.", "module."),
        ),
        "d.ckpt": ({"model_state": collections.OrderedDict(state), "optimizer": {"state": {}}}, "model_state", ()),
    }
    for name, (content, container, stripped) in wrapped.items():
        torch.save(content, tmp_path / name)
        run, fit, found = imported(small, tmp_path / name, tmp_path / f"run-{name}")
        assert fit.complete
        assert (found.container, found.stripped) == (container, stripped)
        assert_equal(run.path, state)
    save_file({f"model.{k}": v.contiguous() for k, v in state.items()}, tmp_path / "e.safetensors")
    run, fit, found = imported(small, tmp_path / "e.safetensors", tmp_path / "run-e")
    assert (fit.names, found.stripped) == ("scmrl", ("model.",))
    assert_equal(run.path, state)


def test_half_precision_is_converted(small: Small, source: Assembly, tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in source.model.state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    run, fit, _ = imported(small, tmp_path / "a.pt", tmp_path / "run")
    assert fit.converted == ["float16"]
    assert_equal(run.path, {k: v.float() if v.is_floating_point() else v for k, v in state.items()})


def test_what_does_not_fit_is_named(small: Small, source: Assembly, tmp_path: Path) -> None:
    state = dict(source.model.state_dict())
    del state["readout.head.bias"]
    state["readout.head.weight"] = torch.zeros(5, 8)
    state["head.scale"] = torch.ones(1)
    file = tmp_path / "a.pt"
    torch.save(state, file)
    with pytest.raises(UserError) as refused:
        imported(small, file, tmp_path / "run")
    for words in (
        "1 missing: readout.head.bias",
        "1 unused: head.scale",
        "1 of another shape: readout.head.weight [5, 8] of float32, the model has [3, 8] of float32",
        "--partial",
    ):
        assert words in str(refused.value)
    assert not (tmp_path / "run").exists()
    run, fit, _ = imported(small, file, tmp_path / "run", partial=True)
    assert (fit.missing, fit.unused, len(fit.misshapen)) == (["readout.head.bias"], ["head.scale"], 1)
    start = small(fusion={"name": "late"}).model.state_dict()
    state |= {name: start[name] for name in ("readout.head.bias", "readout.head.weight")}
    del state["head.scale"]
    assert_equal(run.path, state)


def test_nothing_that_fits_is_refused_also_in_part(small: Small, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="does not fit the model"):
        imported(small, tmp_path / "a.pt", tmp_path / "run", partial=True)


def test_values_that_are_not_finite_are_refused(small: Small, source: Assembly, tmp_path: Path) -> None:
    source.model.state_dict()["readout.head.bias"][0] = float("nan")
    torch.save(source.model.state_dict(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"readout\.head\.bias has values that are not finite"):
        imported(small, tmp_path / "a.pt", tmp_path / "run")


@pytest.mark.parametrize("case", ["cmrl_spatiotemporal_aligned", "late_concat"])
def test_published_weights(case: str, tmp_path: Path) -> None:
    golden = Golden(case)
    state = golden.group("state/")
    # As the published checkpoints have it: parameters that their forward pass does not use.
    noise = {"block.0.norm1.weight": torch.ones(3), "audio_patch_embed.proj_lif.threshold": torch.tensor(1.0)}
    torch.save({"state_dict": {f"module.{k}": v for k, v in (state | noise).items()}}, tmp_path / "a.pth.tar")
    built = golden.model()
    model, _ = assembly.assemble_model(built.config, built.classes, built.channels)
    found = checkpoints.read(tmp_path / "a.pth.tar")
    fit = fill(tmp_path, model, found.tensors)
    assert (fit.names, fit.complete) == ("published", True)
    assert noise.keys() <= set(fit.ignored)
    for name, tensor in reference_parameters(model).items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(tensor.double(), state[name].double(), atol=1e-6, rtol=1e-6)


def test_another_threshold_than_the_configured_one_is_refused(tmp_path: Path) -> None:
    golden = Golden("late_concat")
    built = golden.model()
    tensors = {**golden.group("state/"), "audio_patch_embed.proj_lif.threshold": torch.tensor(0.5)}
    with pytest.raises(
        UserError, match=r"proj_lif\.threshold = 0\.5, and no neuron of the model has this threshold"
    ):
        fill(tmp_path, built, tensors)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch ran",)


def test_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "hook": Evil()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Evil()))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "c.pt")
    for name, code in (("a.pt", "system"), ("b.pt", ""), ("c.pt", "torch.nn.modules.linear.Linear")):
        with pytest.raises(UserError) as refused:
            checkpoints.read(tmp_path / name)
        assert code in str(refused.value)
        assert len(str(refused.value)) < 500
    assert "code would run" in str(refused.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("word", [b"GLOBAL", b"n" * 300_000])
def test_a_long_name_in_a_damaged_pickle_takes_no_time(word: bytes, tmp_path: Path) -> None:
    """Torch's own search of the message takes a minute for it."""
    (tmp_path / "a.pth").write_bytes(b"\x80\x02c" + word + b"\n" + b"a" * 300_000 + b"\n.")
    started = time.process_time()
    with pytest.raises(UserError, match=r"damaged|code would run") as refused:
        checkpoints.read(tmp_path / "a.pth")
    assert time.process_time() - started < 5
    assert len(str(refused.value)) < 500


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as bomb:
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pth").write_text("weights")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    twice = {"module.a": torch.ones(1), "a": torch.ones(1)}
    torch.save(twice, tmp_path / "twice.pt")
    circle: dict[str, Any] = {}
    circle["model"] = circle
    torch.save(circle, tmp_path / "circle.pt")
    for name, words in {
        "bomb.pt": "a compressed archive",
        "empty.pt": "damaged or no checkpoint",
        "text.pth": "damaged or no checkpoint",
        "none.pt": "has no weights",
        "twice.pt": "a is there twice",
        "circle.pt": "has no weights",
        "absent.pt": "no such file",
        "": "not a regular file",
    }.items():
        with pytest.raises(UserError, match=words):
            checkpoints.read(tmp_path / name)


def test_the_weights_of_a_configuration_with_pretrained_modalities_are_those_of_the_file(
    small: Small, source: Assembly, tmp_path: Path
) -> None:
    torch.save(source.model.state_dict(), tmp_path / "a.pt")
    config = layers.compose(
        options={
            "dataset": {"name": "blobs"},
            "fusion": {"name": "late"},
            "train": {"pretrained": {"audio": "gone"}},
        }
    )
    run, _, _ = import_run(tmp_path / "a.pt", config, tmp_path / "run")
    assert_equal(run.path, source.model.state_dict())
    assert open_run(run.path).config().train.pretrained == {}

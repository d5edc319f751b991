"""Tokens of frozen encoders and backbones, stored once and shared by fusions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from blob_data import Blobs
from trainings import epochs, fit, trainer

from scmrl_plugins.core.evaluation.contribution import contribution
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.tokens import FromTokens, TokenCache
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
FROZEN = ['train.freeze=["audio", "visual"]', "train.epochs=2", "train.freeze_feed_forward=false"]
CACHED = [*FROZEN, "train.cache_tokens=true"]
CPU = torch.device("cpu")
NOISE = {"noise": {"audio": [0, 10], "visual": [0, 10]}}


def stored(cache: Path) -> dict[str, np.ndarray]:
    return {path.name: np.load(path) for path in sorted((cache / "tokens").glob("*/*.npy"))}


def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of samples of every batch whose tokens are computed from now on."""
    counts: list[int] = []
    original = TokenCache._tokens

    def counted(cache: TokenCache, batch: Any) -> Any:
        counts.append(len(batch["label"]))
        return original(cache, batch)

    monkeypatch.setattr(TokenCache, "_tokens", counted)
    return counts


def trained(parts: Assembly, path: Path) -> Run:
    run = create_run(path, parts)
    fit(run, parts)
    return run


@pytest.mark.numerical
@pytest.mark.slow
@pytest.mark.parametrize("data", [{}, NOISE], ids=["clean", "noise"])
def test_training_on_stored_tokens_is_training_on_inputs(
    small: Small, tmp_path: Path, data: dict[str, Any]
) -> None:
    """Up to rounding, which depends on the batch."""
    runs = [trained(small(sets=sets, data=data), tmp_path / sets[-1]) for sets in (FROZEN, CACHED)]
    inputs, tokens = map(epochs, runs)
    for one, other in zip(inputs, tokens, strict=True):
        for figure in ("train_loss", "train_accuracy", "validation_accuracy", "validation_loss"):
            assert other[figure] == pytest.approx(one[figure], rel=1e-3)
    figures = [run.metrics()[-1] for run in runs]
    assert figures[1]["accuracy"] == figures[0]["accuracy"]
    assert figures[1]["firing_rates"] == pytest.approx(figures[0]["firing_rates"], rel=1e-3)
    arrays = stored(tmp_path / "cache")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.uint8)}
    assert {"audio.npy", "visual.npy"} <= arrays.keys()
    by_epoch = ["0-audio.npy", "0-visual.npy", "1-audio.npy", "1-visual.npy"]
    assert [name for name in arrays if "-" in name] == (by_epoch if data else [])
    if data:
        assert not np.array_equal(arrays["0-audio.npy"], arrays["1-audio.npy"])


@pytest.mark.slow
def test_fusions_on_the_same_frozen_weights_share_tokens(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = computed(monkeypatch)
    trained(small(sets=CACHED, fusion={"name": "late"}), tmp_path / "late")
    assert sum(counts) == 48 + 15, "training and validation, once for both epochs"
    trained(small(sets=CACHED, fusion={"name": "sca"}), tmp_path / "sca")
    assert sum(counts) == 48 + 15
    trained(small(sets=[*CACHED, "train.seed=1"], fusion={"name": "late"}), tmp_path / "other")
    assert sum(counts) == 2 * (48 + 15), "another seed has other weights"


@pytest.mark.slow
def test_tokens_that_changed_on_disk_are_computed_again(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [*CACHED, "train.epochs=1"]
    run = trained(small(sets=sets), tmp_path / "run")
    before, counts = stored(tmp_path / "cache"), computed(monkeypatch)
    for number, file in enumerate(("audio.npy", "hashes.json"), 1):
        for path in (tmp_path / "cache" / "tokens").glob(f"*/{file}"):
            data = bytearray(path.read_bytes())
            data[-9] ^= 1
            path.write_bytes(data)
        again = trained(small(sets=sets), tmp_path / file)
        assert sum(counts) == number * (48 + 15), file
        assert again.weights_file.read_bytes() == run.weights_file.read_bytes()
        after = stored(tmp_path / "cache")
        assert all(np.array_equal(after[name], array) for name, array in before.items()), file


def test_tokens_that_are_no_small_integers_are_stored_exactly(small: Small, tmp_path: Path) -> None:
    parts = small(sets=CACHED, neuron={"name": "relu"}, fusion={"name": "late"})
    trained(parts, tmp_path / "run")
    arrays = stored(tmp_path / "cache")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.slow
def test_tokens_are_those_of_the_model(small: Small, tmp_path: Path) -> None:
    parts = small(sets=CACHED)
    training = trainer(parts)
    training.fit(create_run(tmp_path / "run", parts))
    split = training.data.splits["validation"]
    parts.model.eval()
    inputs = {name: torch.from_numpy(np.stack([row[name] for row in split])) for name in ("audio", "visual")}
    with torch.no_grad():
        tokens = parts.model.tokens(parts.model.encode(**inputs))
    arrays = {path.parent.name: np.load(path) for path in (tmp_path / "cache" / "tokens").glob("*/audio.npy")}
    [validation] = [array for array in arrays.values() if len(array) == len(split)]
    assert validation.any()
    np.testing.assert_array_equal(validation, tokens["audio"].transpose(0, 1).mT.numpy())


@pytest.mark.numerical
@pytest.mark.slow
def test_the_contribution_on_stored_tokens_is_that_on_inputs(small: Small, tmp_path: Path) -> None:
    """Up to rounding, which depends on the batch."""
    parts = small(sets=[*CACHED, "neuron.threshold=0.1"], fusion={"name": "perceptron"})
    training = trainer(parts)
    training.fit(create_run(tmp_path / "run", parts))
    split, head = training.data.splits["validation"], cast(Any, FromTokens(parts.model))
    direct = contribution(parts.model, split, CPU, seed=3)
    tokens = TokenCache(parts, CPU, Progress.silent())
    stored = contribution(head, split, CPU, seed=3, reading=tokens.loader)
    assert stored.keys() == direct.keys() != set()
    for name, figures in direct.items():
        assert not figures["dead"], "so that it says something"
        assert stored[name] == pytest.approx(figures, rel=1e-3, abs=1e-6), name


@pytest.mark.slow
def test_a_stopped_run_resumes_as_the_same_run(small: Small, tmp_path: Path) -> None:
    sets = [*CACHED, "train.batch_size=8", "train.checkpoint_steps=1"]
    complete = trained(small(sets=sets, data=NOISE), tmp_path / "complete")
    parts = small(sets=sets, data=NOISE)
    run = create_run(tmp_path / "stopped", parts)
    steps = 0

    def stop(_training: Any, step: Callable[[], Any], _batches: list[Any]) -> Any:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return step()

    with pytest.raises(KeyboardInterrupt):
        fit(run, parts, stop)
    fit(run)
    assert run.weights_file.read_bytes() == complete.weights_file.read_bytes()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "learning": ({"train": {"freeze": ["audio"]}}, "visual must be in train.freeze"),
    "mixing": ({"data": {"mixup": 0.2}}, "data.mixup and data.event_mix mix inputs"),
    "drawing": ({"encoder": {"name": "rate"}}, "encoder 'rate' draws anew in every call"),
    "rates": ({"loss": [{"name": "ce"}, {"name": "rate"}]}, "needs the firing rates of every layer"),
    "stages": (
        {"backbone": {"name": "qkformer"}, "fusion": {"name": "cmqka", "scales": 2}},
        "has blocks between the stages of the backbones",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_tokens_that_would_depend_on_more_are_refused(small: Small, tmp_path: Path, case: str) -> None:
    sections, reason = REFUSED[case]
    train = {"cache_tokens": True, "freeze": ["audio", "visual"], **sections.get("train", {})}
    with pytest.raises(UserError, match=reason) as caught:
        trainer(small(**{**sections, "train": train}))
    assert str(caught.value).startswith("train.cache_tokens: ")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_data_set_that_draws_is_stored_by_epoch(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(_blobs: Blobs, stored: Any, training: bool) -> Any:
        return {name: x + training * float(torch.rand(())) for name, x in stored.items()}

    monkeypatch.setattr(Blobs, "inputs", shifted, raising=False)
    trained(small(sets=CACHED), tmp_path / "run")
    assert {"0-audio.npy", "1-audio.npy"} <= stored(tmp_path / "cache").keys()

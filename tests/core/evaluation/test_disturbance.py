"""Corruptions of a batch: by sample, the same in any company."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.data.loading import EvaluationData
from scmrl_plugins.core.evaluation.disturbance import CORRUPTIONS, Disturbance, DisturbedData

BLANK = {"audio": np.full((1, 1, 1), -3.0, np.float32), "visual": np.array([[[1.0]], [[2.0]]], np.float32)}


def batch(start: int = 0, end: int = 12) -> dict[str, Tensor]:
    """Samples of a split of twelve."""
    generator = torch.Generator().manual_seed(0)
    split = {name: torch.rand(12, c, 6, 6, generator=generator) for name, c in (("audio", 1), ("visual", 2))}
    return {
        name: x[start:end] for name, x in {**split, "label": torch.zeros(12), "index": torch.arange(12)}.items()
    }


def test_only_the_named_modality_is_corrupted() -> None:
    samples = batch()
    inputs = Disturbance(noise={"visual": 0.0})(samples, BLANK, 0)
    assert inputs.keys() == {"audio", "visual"}
    assert inputs["audio"] is samples["audio"]
    assert not torch.equal(inputs["visual"], samples["visual"])
    assert Disturbance()(samples, BLANK, 0)["visual"] is samples["visual"]


def test_a_dropped_modality_is_blank_and_the_other_as_it_was() -> None:
    samples = batch()
    inputs = Disturbance(dropped=("audio",), noise={"audio": 0.0})(samples, BLANK, 0)
    assert torch.equal(inputs["audio"], torch.full((12, 1, 6, 6), -3.0))
    assert inputs["visual"] is samples["visual"]
    events = {"visual": torch.rand(2, 3, 2, 6, 6), "index": torch.arange(2)}
    dropped = Disturbance(dropped=("visual",))(events, BLANK, 0)["visual"]
    assert dropped.shape == (2, 3, 2, 6, 6)
    assert (dropped[:, :, 0] == 1).all()
    assert (dropped[:, :, 1] == 2).all()


def test_the_draws_of_a_sample_do_not_depend_on_its_batch() -> None:
    both = Disturbance(noise={"audio": 0.0}, occlusion={"audio": 0.3})
    together = both(batch(), BLANK, 7)["audio"]
    for size in (1, 5):
        parts = [both(batch(start, start + size), BLANK, 7)["audio"] for start in range(0, 12, size)]
        assert torch.equal(torch.cat(parts), together)
    assert not torch.equal(both(batch(), BLANK, 8)["audio"], together)
    hidden = Disturbance(occlusion={"audio": 0.3})(batch(), BLANK, 7)["audio"]
    assert len({tuple((row == row.amin()).flatten().tolist()) for row in hidden}) > 4


def test_the_draws_of_a_corruption_do_not_depend_on_the_others() -> None:
    samples = batch()
    alone = Disturbance(noise={"audio": 3.0})(samples, BLANK, 0)["audio"]
    beside = Disturbance(noise={"audio": 3.0, "visual": 3.0}, occlusion={"visual": 0.2})(samples, BLANK, 0)
    assert torch.equal(beside["audio"], alone)
    noisy = {**samples, **Disturbance(noise={"visual": 3.0})(samples, BLANK, 0)}
    assert torch.equal(beside["visual"], Disturbance(occlusion={"visual": 0.2})(noisy, BLANK, 0)["visual"])
    # Modalities differ in their draws.
    same = {"audio": samples["audio"], "visual": samples["audio"], "index": samples["index"]}
    drawn = Disturbance(noise={"audio": 3.0, "visual": 3.0})(same, BLANK, 0)
    assert not torch.equal(drawn["audio"], drawn["visual"])


def test_a_disturbance_describes_itself() -> None:
    disturbance = Disturbance(noise={"audio": -5.0}, occlusion={"visual": 0.25}, dropped=("audio",))
    assert str(disturbance) == "audio at -5 dB, 25% of visual hidden, no audio"
    assert str(Disturbance()) == ""


def test_every_corruption_is_a_field() -> None:
    assert Disturbance.model_fields.keys() == CORRUPTIONS.keys()


class Split:
    """Samples as a split has them."""

    paths = ()
    blank = BLANK

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: x[index].numpy() for name, x in batch().items() if name != "index"}


def test_disturbed_samples_are_those_of_the_disturbed_batch() -> None:
    disturbance = Disturbance(noise={"audio": 0.0}, occlusion={"audio": 0.3}, dropped=("visual",))
    expected = disturbance(batch(), BLANK, 7)
    data = DisturbedData(cast(Any, Split()), disturbance, 7)
    for index in (0, 5):
        sample = data[index]
        assert sample["index"] == index
        for name, x in expected.items():
            assert np.array_equal(sample[name], x[index].numpy())
    others = [
        DisturbedData(cast(Any, Split()), Disturbance(noise={"audio": 1.0}), 7),
        DisturbedData(cast(Any, Split()), disturbance, 8),
        EvaluationData(cast(Any, Split())),
    ]
    assert all(other.identity != data.identity for other in others)

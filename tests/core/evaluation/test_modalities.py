"""Who carries the accuracy: Shapley shares, on games and predictions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scmrl_plugins.core.evaluation.disturbance import Disturbance
from scmrl_plugins.core.evaluation.metrics import Predictions
from scmrl_plugins.core.evaluation.modalities import carried, shapley, subsets
from scmrl_plugins.core.evaluation.robustness import hidden, noisy, ratios
from scmrl_plugins.core.evaluation.steps import hits_by_step, logits_by_step
from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.registry import UserError

TARGETS = torch.tensor([0, 0, 1, 1, 2])


def right_for(count: int) -> Predictions:
    """Right for the first ``count`` samples."""
    predicted = torch.where(torch.arange(5) < count, TARGETS, (TARGETS + 1) % 3)
    logits = torch.nn.functional.one_hot(predicted, 3).double()
    return Predictions(TARGETS, logits, torch.zeros(5), ("a", "b", "c"))


@given(st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_shapley_shares_add_up_and_symmetric_players_share_alike(values: list[float]) -> None:
    game = dict(zip(subsets("xyz"), values, strict=True))
    shares = shapley("xyz", game.__getitem__)
    assert sum(shares.values()) == pytest.approx(game[frozenset("xyz")] - game[frozenset()])
    by_size = shapley("xyz", lambda group: values[len(group)])
    assert by_size["x"] == pytest.approx(by_size["y"])
    alone = shapley("xyz", lambda group: float("x" in group))
    assert alone == {"x": pytest.approx(1.0), "y": pytest.approx(0.0), "z": pytest.approx(0.0)}


def test_a_model_that_uses_audio_alone() -> None:
    def predicted(disturbance: Disturbance) -> Predictions:
        return right_for(2 if "audio" in disturbance.dropped else 5)

    found = carried(("audio", "visual"), predicted)
    assert found.baseline == pytest.approx(2 / 5)  # two of five samples are of one class
    assert found.accuracy("audio") == 1.0
    assert found.without("audio") == found.accuracy("visual") == pytest.approx(2 / 5)
    assert found.shares == {"audio": pytest.approx(3 / 5), "visual": pytest.approx(0.0)}
    assert sum(found.shares.values()) == pytest.approx(found.accuracy("audio", "visual") - found.baseline)
    assert found.per_class("visual") == [1.0, 0.0, 0.0]


def test_the_interval_of_a_share() -> None:
    """By sample, audio's share is (1 - 0.4) / 2 + (1 - what vision alone has) / 2, of which t has 4 degrees."""
    found = carried(("audio", "visual"), lambda given: right_for(2 if "audio" in given.dropped else 5)).intervals
    by_sample = np.array([0.3, 0.3, 0.8, 0.8, 0.8])
    margin = 2.776 * by_sample.std(ddof=1) / 5**0.5
    audio = found["audio"]
    assert (audio.low, audio.value, audio.high) == pytest.approx((0.6 - margin, 0.6, 0.6 + margin), abs=1e-3)
    assert found["visual"].value == pytest.approx(0.0)


def test_one_modality_has_all() -> None:
    found = carried(("audio",), lambda _: right_for(4))
    assert found.shares == {"audio": pytest.approx(4 / 5 - 2 / 5)}
    assert found.without("audio") == found.baseline


def test_what_is_known_after_each_step() -> None:
    steps = torch.tensor([[[2.0, 0.0]], [[0.0, 3.0]], [[0.0, 0.0]]])
    output = ModelOutput(steps.mean(0), step_logits=steps)
    assert torch.equal(logits_by_step(output)[-1], output.logits)  # type: ignore[index]
    assert hits_by_step(output, torch.tensor([1])).tolist() == [0, 1, 1]  # type: ignore[union-attr]
    assert logits_by_step(ModelOutput(steps.mean(0))) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:20:5", [0, 5, 10, 15, 20]),
        ("20:0:-10", [20, 10, 0]),
        ("3", [3]),
        ("-5:5:4", [-5, -1, 3]),
        ("1:1:1", [1]),
    ],
)
def test_ratios(text: str, expected: list[float]) -> None:
    assert ratios(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "0:20", "0:20:0", "0:20:-5", "0:inf:5", "nan", "0:200:0.001", "0:300:5"]
)
def test_ratios_that_make_no_curve(text: str) -> None:
    with pytest.raises(UserError, match="--snr"):
        ratios(text)


def test_a_point_of_a_curve_keeps_the_other_corruptions() -> None:
    base = Disturbance(occlusion={"visual": 0.2}, dropped=())
    assert noisy(base, "both", 5.0).settings() == {
        "noise": {"audio": 5.0, "visual": 5.0},
        "occlusion": {"visual": 0.2},
        "dropped": [],
    }
    assert hidden(base, "audio", 0.5).occlusion == {"visual": 0.2, "audio": 0.5}

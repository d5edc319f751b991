"""Metrics: one function each, and whatever is declared is shown everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trainings import epochs, fit

from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.evaluation.metrics import METRICS, Predictions
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import create_run
from scmrl_plugins.explain import report

Small = Callable[..., Assembly]


def predictions(predicted: list[int], targets: list[int], k: int = 3) -> Predictions:
    logits = torch.nn.functional.one_hot(torch.tensor(predicted, dtype=torch.long), k).float()
    return Predictions(
        torch.tensor(targets, dtype=torch.long), logits.view(-1, k), torch.ones(len(targets)), ["a", "b", "c"][:k]
    )


def test_metrics_by_hand() -> None:
    values = metrics.compute(predictions([0, 0, 1, 1], [0, 1, 1, 1]))
    assert values["accuracy"] == 3 / 4
    assert values["loss"] == 1.0
    assert values["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)  # the third class does not occur
    assert values["per_class"] == {"a": 1.0, "b": 2 / 3}


def test_of_an_empty_split_every_metric_is_zero() -> None:
    values = metrics.compute(predictions([], []))
    assert metrics.scalars(values) == {"accuracy": 0.0, "loss": 0.0, "macro_f1": 0.0}
    assert values["per_class"] == {}


def test_rows_show_what_there_is() -> None:
    """Results that were written before a metric was added lack it; a loss that is not finite is null in JSON."""
    assert metrics.rows({"accuracy": 0.5, "loss": None, "per_class": {"one": 0.25}, "n": 4}) == [
        ("accuracy", "50.00%"),
        ("loss", ""),
        ("accuracy of class one", "25.00%"),
    ]
    assert metrics.scalars({"validation_loss": 0.5, "loss": 1.0}, "validation_") == {"loss": 0.5}


def test_groups_by_hand() -> None:
    split = predictions([0, 0, 1, 1], [0, 1, 1, 1])
    grouped = replace(split, groups={"speaker": ["x", "x", "y", "y"], "writer": ["p", "q", "q", "q"]})
    assert metrics.per_group(grouped) == {
        "speaker": {"x": {"n": 2, "accuracy": 0.5}, "y": {"n": 2, "accuracy": 1.0}},
        "writer": {"p": {"n": 1, "accuracy": 1.0}, "q": {"n": 3, "accuracy": 2 / 3}},
    }
    assert metrics.compute(grouped)["worst_group"] == 0.5  # of the first column
    assert metrics.per_group(split) == {}
    assert "worst_group" not in metrics.compute(split)


def test_rows_show_the_interval_and_the_worst_groups() -> None:
    groups = {f"s{index:02}": {"n": 5, "accuracy": index / 20} for index in range(14)}
    values = {
        "accuracy": 0.5,
        "interval": [0.25, 0.75],
        "interval_method": "by hand",
        "per_group": {"speaker": groups},
    }
    shown = metrics.rows(values)
    assert shown[1:3] == [
        ("95 % interval", "25.00% to 75.00% (by hand)"),
        ("accuracy of speaker s00", "0.00% of 5"),
    ]
    assert shown[-1] == ("accuracy of 4 other groups by speaker", "50.00% or more")


@pytest.mark.slow
def test_a_new_metric_is_shown_everywhere(small: Small, tmp_path: Path) -> None:
    @metrics.metric("samples of class one", format=".0f")
    def ones(split: Predictions) -> float:
        return float((split.targets == 0).sum())

    try:
        run = create_run(tmp_path / "run", small(sets=["train.epochs=1"]))
        result = fit(run)
        report.write(run)
    finally:
        del METRICS["ones"]
    assert result.metrics["ones"] == result.as_dict()["ones"] == 6
    assert epochs(run)[0]["validation_ones"] == 5
    assert run.metrics()[-1]["ones"] == 6
    assert "samples of class one" in run.report_file.read_text(encoding="utf-8")

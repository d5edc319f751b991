"""Temperature scaling: logits whose over-confidence is known, and what it does to a product of experts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from scmrl_plugins.bench.accuracy.baselines import rules
from scmrl_plugins.bench.accuracy.baselines.calibration import LIMITS, temperature


def evidence(seed: int, n: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and logits whose softmax is the posterior of a class that is read through Gaussian noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 5
    readings = np.eye(5)[labels] + noise * rng.normal(size=(n, 5))
    return labels, readings / noise**2


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_factor_of_overconfident_logits_is_found(factor: float) -> None:
    labels, logits = evidence(0, 5000, noise=0.8)
    assert temperature(factor * logits, labels) == pytest.approx(factor, rel=0.1)


def test_a_calibrated_product_of_experts_beats_the_raw_one() -> None:
    """A weak expert that is far too certain outvotes a good one, unless both are calibrated on other samples."""
    noise, certainty = {"audio": 1.2, "visual": 0.5}, {"audio": 8.0, "visual": 1.0}
    seeds = {"audio": (1, 2), "visual": (3, 4)}
    raw, calibrated, true = {}, {}, {}
    for name, (validation, test) in seeds.items():
        labels, logits = evidence(validation, 1000, noise[name])
        fitted = temperature(certainty[name] * logits, labels)
        labels, logits = evidence(test, 2000, noise[name])
        true[name] = softmax(logits, axis=1)
        raw[name] = softmax(certainty[name] * logits, axis=1)
        calibrated[name] = softmax(certainty[name] * logits / fitted, axis=1)

    def judged(experts: dict[str, np.ndarray]) -> tuple[float, float]:
        found = rules.same(**experts)
        return float((found.argmax(1) == labels).mean()), float(-np.log(found[range(2000), labels]).mean())

    assert judged(calibrated)[0] > judged(raw)[0] + 0.1
    assert judged(calibrated)[1] < judged(raw)[1] / 2
    assert judged(calibrated)[0] == pytest.approx(judged(true)[0], abs=0.01)  # the best that is possible


def test_what_determines_no_temperature_is_left_as_it_is() -> None:
    """All right: the likelihood has no maximum. Without information: as flat as is allowed."""
    assert temperature(3.0 * np.eye(4), np.arange(4)) == 1.0
    rng = np.random.default_rng(0)
    wrong = np.eye(4)[(np.arange(400) + 1) % 4] * 5 + rng.normal(size=(400, 4))
    assert temperature(wrong, np.arange(400) % 4) == pytest.approx(LIMITS[1], rel=0.01)

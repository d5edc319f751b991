"""OGM-GE against its equation, and on a step where one modality is better."""

from __future__ import annotations

import math

import pytest
import torch
from modulation_cases import assert_equal, derived, gradients, like, of, outputs, rig, step_with, subject
from torch.nn import functional as F


@pytest.mark.parametrize(("numbers", "readout"), [([0], "add"), ([0], "concat"), ([0, 1, 2], "add")])
def test_gradients_of_the_equation(numbers: list[int], readout: str) -> None:
    made = rig("ogm-ge", readout=readout, noise=False, alpha=0.5)
    found = gradients(made, numbers)
    head = made.model.readout.head
    scores = {"audio": 0.0, "visual": 0.0}
    total = torch.zeros(())
    for number in numbers:
        output, features, target = outputs(made, number)
        total = total + F.cross_entropy(output.logits, target) / len(numbers)
        columns = {"audio": head.weight[:, :16], "visual": head.weight[:, -16:]}
        for name, f in features.items():
            p = (f @ columns[name].T + head.bias / 2).softmax(1).detach()
            scores[name] += float(p[range(len(target)), target].sum())
    expected = derived(made, total)
    better, other = sorted(scores, key=lambda name: -scores[name])
    k = 1 - math.tanh(0.5 * scores[better] / scores[other])
    assert_equal(found, {name: k * g if of(better, name) else g for name, g in expected.items()})


def test_a_dominant_modality_is_slowed_down_by_a_known_factor() -> None:
    made = subject("ogm-ge", alpha=0.8, noise=False).build()
    combined = made.combine({"loss": like(2.0, (3,))()}, step_with(audio=3.0, visual=1.0))
    assert combined["audio"]["0"].tolist() == pytest.approx([2 * (1 - math.tanh(2.4))] * 3)
    assert combined["visual"]["0"].tolist() == combined["rest"]["0"].tolist() == [2.0] * 3


def test_equal_modalities_and_epochs_after_the_end_change_nothing() -> None:
    made = subject("ogm-ge", noise=False).build()
    for step in (step_with(audio=1.0, visual=1.0), step_with()):
        combined = made.combine({"loss": like(2.0, (3,))()}, step)
        assert all(part["0"].tolist() == [2.0] * 3 for part in combined.values())


def test_noise_has_the_deviation_of_the_gradient_in_both_modalities() -> None:
    made = subject("ogm-ge", alpha=0.8).build()
    given = like(0.0, (100, 100), (1,))()
    for part in given.values():
        part["0"] += 3 * torch.randn(100, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    combined = made.combine({"loss": given}, step_with(audio=3.0, visual=1.0))
    for name, k in (("audio", 1 - math.tanh(2.4)), ("visual", 1.0)):
        noise = combined[name]["0"] - k * given[name]["0"]
        assert float(noise.std()) == pytest.approx(3.0, rel=0.05)
        assert abs(float(combined[name]["1"])) < 1e-6  # a single value has no deviation
    assert torch.equal(combined["rest"]["0"], given["rest"]["0"])


def test_only_kernels_of_convolutions() -> None:
    made = subject("ogm-ge", noise=False, parameters="convolutions").build()
    combined = made.combine({"loss": like(1.0, (2, 2, 3, 3), (2, 2, 1), (2,))()}, step_with(audio=3.0, visual=1.0))
    assert [bool((g == 1).all()) for g in combined["audio"].values()] == [False, True, True]

"""AGM against its equation, and on scores that are given."""

from __future__ import annotations

import math

import pytest
import torch
from modulation_cases import Named, assert_equal, derived, gradients, like, outputs, rig, step_with, subject
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import TrainingStep


def kappa(s: float, other: float, mean: float, mean_other: float, alpha: float) -> float:
    return math.exp(alpha * min(math.exp(mean_other - mean) - math.exp(other - s), 10))


@pytest.mark.parametrize("numbers", [[0], [0, 1, 2]])
def test_gradients_of_the_equation(numbers: list[int]) -> None:
    made = rig("agm", alpha=0.7)
    made.modulation.means.copy_(torch.tensor([0.9, 1.3], dtype=torch.float64))
    found = gradients(made, numbers)
    expected: Named = {}
    for number in numbers:
        output, _, target = outputs(made, number)
        batch = made.batch(number)
        made.model.eval()
        only_audio = made.model(batch["audio"], torch.zeros_like(batch["visual"])).logits
        only_visual = made.model(torch.zeros_like(batch["audio"]), batch["visual"]).logits
        made.model.train()
        z = output.logits
        phi = {"audio": (z - only_visual + only_audio) / 2, "visual": (z - only_audio + only_visual) / 2}
        s = {name: float(F.cross_entropy(x.detach(), target)) for name, x in phi.items()}
        k_audio = kappa(s["audio"], s["visual"], 0.9, 1.3, 0.7)
        k_visual = kappa(s["visual"], s["audio"], 1.3, 0.9, 0.7)
        (g,) = torch.autograd.grad(F.cross_entropy(z, target), z, retain_graph=True)
        loss = (g * (k_audio * phi["audio"] + k_visual * phi["visual"])).sum() / len(numbers)
        # Before the next batch changes the running statistics that evaluation mode uses.
        expected = {name: part + expected.get(name, 0) for name, part in derived(made, loss).items()}
    assert_equal(found, expected)


def test_the_contribution_of_a_dominant_modality_shrinks_by_a_known_factor() -> None:
    made = subject("agm").build()
    scores = {"audio": torch.tensor(1.0), "visual": torch.tensor(2.0)}  # losses: audio is the better one
    assert made.factor(scores, "audio") == pytest.approx(math.exp(1 - math.e))
    assert made.factor(scores, "visual") == pytest.approx(math.exp(1 - 1 / math.e))
    made.means.copy_(torch.tensor([1.0, 2.0]))  # as it has always been: nothing to correct
    assert made.factor(scores, "audio") == made.factor(scores, "visual") == 1.0


def test_scores_are_averaged_over_the_steps() -> None:
    made = subject("agm").build()
    for audio, visual in ((2.0, 8.0), (4.0, 4.0), (6.0, 0.0)):
        step = TrainingStep()
        for name, value in (("samples", 2.0), ("audio", 2 * audio), ("visual", 2 * visual)):
            step.add(name, torch.tensor(value))
        made.combine({"loss": like(1.0, (2,))()}, step)
    assert made.means.tolist() == [4.0, 4.0]
    made.combine({"loss": like(1.0, (2,))()}, step_with())  # in an epoch in which it does not act
    assert (made.means.tolist(), int(made.steps)) == ([4.0, 4.0], 3)

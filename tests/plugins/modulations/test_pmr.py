"""PMR against its equation, its prototypes, and a batch with known distances."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modulation_cases import assert_equal, derived, gradients, outputs, rig, subject
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.testing.subject import CLASSES

K = len(CLASSES)


def prototypes(made: Any) -> dict[str, Tensor]:
    """Prototypes at which vision lags behind."""
    generator = torch.Generator().manual_seed(3)
    made.known.fill_(True)
    for name in ("audio", "visual"):
        made.get_buffer(name).copy_(torch.rand(K, 16, generator=generator, dtype=torch.float64))
    return {name: made.get_buffer(name) for name in ("audio", "visual")}


@pytest.mark.parametrize(("weight", "numbers"), [("clip", [0]), ("switch", [0]), ("clip", [0, 1, 2])])
def test_gradients_of_the_equation(weight: str, numbers: list[int]) -> None:
    made = rig("pmr", weight=weight, alpha=0.8)
    centres = prototypes(made.modulation)
    found = gradients(made, numbers)
    total: Tensor = torch.zeros(())
    for number in numbers:
        output, features, target = outputs(made, number)
        distances = {name: -torch.cdist(f, centres[name]) for name, f in features.items()}
        s = {name: float(d.detach().softmax(1)[range(len(target)), target].sum()) for name, d in distances.items()}
        loss = F.cross_entropy(output.logits, target)
        for name, other in (("audio", "visual"), ("visual", "audio")):
            rho = s[other] / s[name]
            w = float(rho > 1) if weight == "switch" else min(max(rho - 1, 0), 1)
            loss = loss + 0.8 * w * F.cross_entropy(distances[name], target)
        total = total + loss / len(numbers)
    assert_equal(found, derived(made, total))


def test_prototypes_are_class_means_with_a_momentum() -> None:
    made = subject("pmr", momentum=0.25).build(embed_dims=2)
    target = torch.tensor([0, 0, 1])
    first = {name: torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 5.0]]) for name in ("audio", "visual")}
    made.observe(first, target)
    assert made.audio.tolist() == [[2.0, 0.0], [5.0, 5.0], [0.0, 0.0]]
    assert made.known.tolist() == [True, True, False]
    made.observe({name: 2 * x[:2] for name, x in first.items()}, target[:2])
    assert made.visual.tolist() == [[0.75 * 4 + 0.25 * 2, 0.0], [5.0, 5.0], [0.0, 0.0]]
    made.observe({name: x[:1] for name, x in first.items()}, torch.tensor([2]))
    assert made.visual[2].tolist() == [1.0, 0.0]  # at first without the momentum


def test_a_class_without_a_prototype_is_left_out() -> None:
    made = subject("pmr").build(embed_dims=1)
    made.observe({name: torch.tensor([[0.0], [4.0]]) for name in ("audio", "visual")}, torch.tensor([0, 1]))
    log = made.log_q(torch.tensor([[1.0]]), made.audio)
    assert log[0].tolist() == pytest.approx([*F.log_softmax(torch.tensor([-1.0, -3.0]), 0).tolist(), -torch.inf])


def test_a_feature_on_its_prototype_has_a_gradient() -> None:
    made = subject("pmr").build(embed_dims=1)
    made.observe({name: torch.tensor([[0.0], [4.0]]) for name in ("audio", "visual")}, torch.tensor([0, 1]))
    feature = torch.tensor([[0.0]], requires_grad=True)
    made.log_q(feature, made.audio)[0, 0].backward()
    assert feature.grad is not None
    assert feature.grad.isfinite().all()


def test_the_weight_of_the_modality_that_lags_behind() -> None:
    clip, switch = (subject("pmr", weight=weight).build() for weight in ("clip", "switch"))
    better, worse = torch.tensor(3.0), torch.tensor(2.0)
    assert (clip.weight(better, worse), clip.weight(worse, better)) == (0.5, 0.0)
    assert (switch.weight(better, worse), switch.weight(worse, better)) == (1.0, 0.0)
    assert clip.weight(better, 0.1 * worse) == 1.0

"""OPM against its equation, with the samples that it drops."""

from __future__ import annotations

import math

import pytest
import torch
from modulation_cases import assert_equal, derived, gradients, outputs, rig, subject
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.system import seeds
from scmrl_plugins.registry import UserError


@pytest.mark.parametrize("numbers", [[0], [0, 1, 2]])
def test_gradients_of_the_equation(numbers: list[int]) -> None:
    made = rig("opm", probability=1.0, rate=0.4, strength=0.9)
    found = gradients(made, numbers)
    head = made.model.readout.head
    generator = seeds.generator(0, 1, 0, "modulation")
    total: Tensor = torch.zeros(())
    dropped = 0
    for number in numbers:
        _, features, target = outputs(made, number)
        torch.rand((), generator=generator)
        p = {name: (f @ head.weight.T + head.bias / 2).softmax(1).detach() for name, f in features.items()}
        s = {name: float(x[range(len(target)), target].sum()) for name, x in p.items()}
        better, other = sorted(s, key=lambda name: -s[name])
        q = min(1.0, 0.4 * (1 + 0.9 * math.tanh(s[better] / s[other] - 1)))
        kept = torch.rand(len(target), generator=generator) >= q
        dropped += int((~kept).sum())
        whole = (features[better] * kept.unsqueeze(1) + features[other]) / (1 - q / 2)
        total = total + F.cross_entropy(head(whole), target) / len(numbers)
    assert dropped
    assert_equal(found, derived(made, total))


def test_with_no_probability_it_is_the_plain_loss() -> None:
    made = rig("opm", probability=0.0)
    found = gradients(made, [0])
    output, _, target = outputs(made, 0)
    assert_equal(found, derived(made, F.cross_entropy(output.logits, target)))


def test_a_joint_stream_is_refused() -> None:
    with pytest.raises(UserError, match="one joint stream: choose another fusion"):
        subject("opm").build(joint=True)

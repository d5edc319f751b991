"""DGL against its equation, and what each part of a model learns from."""

from __future__ import annotations

import pytest
import torch
from modulation_cases import assert_equal, derived, gradients, like, of, outputs, rig, subject
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import TrainingStep


@pytest.mark.parametrize(("numbers", "readout"), [([0], "concat"), ([0], "add"), ([0, 1, 2], "add")])
def test_gradients_of_the_equation(numbers: list[int], readout: str) -> None:
    made = rig("dgl", readout=readout, alpha=3.0)
    found = gradients(made, numbers)
    head = made.model.readout.head
    columns = {"audio": head.weight[:, :16], "visual": head.weight[:, -16:]}
    joint: Tensor = torch.zeros(())
    alone: Tensor = torch.zeros(())
    for number in numbers:
        output, features, target = outputs(made, number)
        joint = joint + F.cross_entropy(output.logits, target) / len(numbers)
        for name, f in features.items():
            alone = alone + 3 * F.cross_entropy(f @ columns[name].T + head.bias, target) / len(numbers)
    of_joint, of_alone = derived(made, joint), derived(made, alone)
    encoders = {key: g for key, g in of_alone.items() if of("audio", key) or of("visual", key)}
    assert_equal(found, {**of_joint, **encoders})


def test_the_losses_do_not_mix() -> None:
    joint, alone = like(1.0, (2,))(), like(5.0, (2,))()
    combined = subject("dgl").build().combine({"joint": joint, "alone": alone}, TrainingStep())
    values = {part: set(torch.cat(list(named.values())).tolist()) for part, named in combined.items()}
    assert values == {"audio": {5.0}, "visual": {5.0}, "rest": {1.0}}

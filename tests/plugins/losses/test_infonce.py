"""InfoNCE: aligned features cost nothing."""

from __future__ import annotations

import math

import pytest
import torch
from loss_cases import aligned, build

from scmrl_plugins.plugins.losses.infonce import InfoNCE

pytestmark = pytest.mark.numerical


def test_infonce_of_aligned_orthogonal_features_tends_to_zero() -> None:
    features, y = torch.eye(6, dtype=torch.float64).unsqueeze(0), torch.zeros(6, dtype=torch.long)
    values = [build(InfoNCE, temperature=t)(aligned(features, features), y).item() for t in (1.0, 0.2, 0.07, 0.02)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-12
    # All alike, it is a guess among six.
    same = torch.ones(1, 6, 4)
    assert build(InfoNCE)(aligned(same, same), y).item() == pytest.approx(math.log(6))

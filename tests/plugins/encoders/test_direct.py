"""The input repeated at every step.

Copies are compared to the bit.
"""

from __future__ import annotations

import pytest
import torch
from encoding import encoder

from scmrl_plugins.plugins.encoders.direct import Direct

pytestmark = pytest.mark.numerical


def test_direct_repeats_without_a_copy() -> None:
    x = torch.randn(2, 3, 4, 4)
    out = encoder(Direct, 7)(x)
    assert torch.equal(out, torch.stack([x] * 7))
    assert out.data_ptr() == x.data_ptr()
    assert out.stride(0) == 0

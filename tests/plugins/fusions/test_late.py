"""Late fusion: the streams as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.fusions.late import Late

pytestmark = pytest.mark.numerical


MakeContext = Callable[..., Context]


def streams(steps: int = 3, batch: int = 4, tokens: int = 5, other: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    audio = torch.rand(steps, batch, 8, tokens, generator=generator) * 2
    return audio, torch.rand(steps, batch, 8, other or tokens, generator=generator) * 2


def test_late_changes_nothing(make_context: MakeContext) -> None:
    audio, visual = streams(tokens=5, other=3)
    fused = Late(Late.Config(), make_context())(audio, visual)
    assert fused.audio is audio
    assert fused.visual is visual
    assert fused.residuals == {}
    assert not list(Late(Late.Config(), make_context()).parameters())

"""One modality alone attends to itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.core.model import assembly
from scmrl_plugins.plugins.fusions.unimodal import Audio, Visual
from scmrl_plugins.registry import UserError

pytestmark = pytest.mark.numerical


MakeContext = Callable[..., Context]


def streams(steps: int = 3, batch: int = 4, tokens: int = 5, other: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    audio = torch.rand(steps, batch, 8, tokens, generator=generator) * 2
    return audio, torch.rand(steps, batch, 8, other or tokens, generator=generator) * 2


@pytest.mark.parametrize(("cls", "name"), [(Audio, "audio"), (Visual, "visual")])
def test_unimodal_attends_to_itself(make_context: MakeContext, cls: Any, name: str) -> None:
    torch.manual_seed(0)
    fusion = cls(cls.Config(), make_context(0.05)).eval()
    assert cls.modalities == (name,)
    x, _ = streams()
    given: dict[str, Tensor | None] = {"audio": None, "visual": None, name: x}
    fused = fusion(**given)
    torch.testing.assert_close(getattr(fused, name), x + fusion.attention(x, x))
    assert not torch.equal(getattr(fused, name), x)
    assert getattr(fused, "visual" if name == "audio" else "audio") is None
    assert len(fused.streams()) == 1


@pytest.mark.parametrize("name", ["audio", "visual"])
def test_a_unimodal_model_ignores_the_other(name: str) -> None:
    parts = assembly.assemble(layers.compose(options={"fusion": {"name": name}, "neuron": {"threshold": 0.2}}))
    model = parts.model
    assert model.modalities == (name,)
    torch.manual_seed(0)
    x = {"audio": torch.randn(4, 1, 16, 16), "visual": torch.randn(4, 1, 16, 16)}
    model(**x)
    model.eval()
    alone = model(**{name: x[name]})
    other = "visual" if name == "audio" else "audio"
    noisy = model(**{name: x[name], other: torch.randn(2, 7, 3)})
    torch.testing.assert_close(alone.logits, noisy.logits)
    assert not torch.equal(alone.logits[0], alone.logits[1])
    assert alone.aligned is None
    with pytest.raises(UserError, match=f"needs {name}"):
        model(**{other: x[other]})
    assert parts.loss.names == ["ce"]

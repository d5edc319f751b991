from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_model import TINY

from scmrl_plugins.bench.speed.settings import BASELINE, OURS
from scmrl_plugins.core.config import layers
from scmrl_plugins.registry import UserError


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.image_size"):
        replace(TINY, image_size=1).config(OURS)


def test_variants_differ_in_neuron_and_layout() -> None:
    baseline, ours = TINY.config(BASELINE), TINY.config(OURS)
    assert layers.validate(baseline.model_dump()) == baseline
    assert (baseline.neuron.name, ours.neuron.name) == ("braincog:LIFNode", "lif")
    assert (baseline.model.layout, ours.model.layout) == ("channels-first", "channels-last")
    differing = {key for key in ours.model_dump() if getattr(ours, key) != getattr(baseline, key)}
    assert differing == {"neuron", "model"}

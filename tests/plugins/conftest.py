"""A context as a model gives it to its components, at sizes a test can do by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scmrl_plugins.core.interfaces import Context
from scmrl_plugins.plugins.neurons.lif import LIF


@pytest.fixture
def make_context() -> Callable[..., Context]:
    def make(threshold: float = 0.2, **changes: Any) -> Context:
        def neuron(**overrides: Any) -> LIF:
            return LIF(LIF.Config(**{"threshold": threshold, **overrides}))

        sizes: dict[str, Any] = {
            "steps": 3,
            "embed_dims": 8,
            "num_heads": 2,
            "image_size": 16,
            "num_classes": 5,
            "channels": {"audio": 1, "visual": 2},
            "neuron": neuron,
            "modality": "visual",
        }
        return Context(**(sizes | changes))

    return make

"""Runs of the blobs as if trained, and quiet loggers of torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conv_backbone
import pytest
import torch

from scmrl_plugins.core.measure.operations import random_inputs
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.registry import catalogue


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> None:
    """Torch's exporter logs each operation in detail where a logger takes it, as pytest's does."""
    for name in ("torch.__trace", "torch._dynamo", "torch.fx", "torch.export"):
        logging.getLogger(name).setLevel(logging.ERROR)


@pytest.fixture
def make(
    blobs: None, small: Callable[..., Assembly], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """``make(fusion={...})``: a run of the blobs whose batch norms have the statistics of a batch."""
    monkeypatch.setattr(catalogue(), "entries", [*catalogue().entries, conv_backbone.ENTRY])

    def made(**sections: Any) -> Run:
        parts = small(**sections)
        with torch.no_grad():
            parts.model.train()(**random_inputs(parts.model, torch.device("cpu"), 16))
        return create_run(tmp_path / "run", parts)

    return made

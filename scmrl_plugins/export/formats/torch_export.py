"""Programs of ``torch.export``, ``.pt2``: ``torch.export.load(FILE).module()(audio=..., visual=...)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.export.traced import trace


def write(model: AudioVisualModel, example: Mapping[str, Tensor], path: Path) -> None:
    """Write the program, for batches of any size."""
    program = trace(model, example)
    with path.open("wb") as file:
        torch.export.save(program, file)


def reader(path: Path) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The logits of the program in the file."""
    with path.open("rb") as file:
        program = torch.export.load(file).module()

    @torch.no_grad()
    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        return program(**inputs)

    return run

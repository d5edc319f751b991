"""A model as a graph of torch's operators, the steps of its neurons one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from scmrl_plugins.core.interfaces import Component
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.registry import UserError


class Logits(nn.Module):
    """``(audio, visual) -> logits [B, K]``: only the prediction of a model."""

    def __init__(self, model: AudioVisualModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, audio: Tensor | None = None, visual: Tensor | None = None) -> Tensor:
        return self.model(audio, visual).logits


def trace(model: AudioVisualModel, example: Mapping[str, Tensor], dynamic: bool = True) -> ExportedProgram:
    """The program of one forward pass in evaluation mode, for batches of any size if ``dynamic``.

    The number of time steps is the model's. Raises ``UserError`` for a component whose operations depend on
    values.
    """
    batch = {0: Dim("batch")} if dynamic else {}
    try:
        with torch.no_grad():
            return torch.export.export(
                Logits(model).eval(),
                (),
                kwargs=dict(example),
                dynamic_shapes=dict.fromkeys(example, batch),
                strict=False,
            )
    except UserError:
        raise
    except Exception as error:  # torch.export raises any error, also those of components
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"the model cannot be traced ({reason[0]}): a component has operations that depend on values or are "
            f"not torch's; export it with --format safetensors"
        ) from error


def check_deterministic(model: AudioVisualModel) -> None:
    """``UserError`` for a component that draws at random, whose file could not be compared with the model."""
    for name, module in model.named_modules():
        if isinstance(module, Component) and "stochastic" in module.tags:
            raise UserError(
                f"{name} ({type(module).__name__}) draws at random, so that no file could be compared with the "
                f"model: export it with --format safetensors"
            )

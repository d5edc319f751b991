"""A loss that slows down the learning of the dominant modality."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.plugins.losses.cross_entropy import Smoothed, SmoothedConfig
from scmrl_plugins.plugins.losses.precision import full
from scmrl_plugins.registry import UserError


class Balance(Smoothed):
    """mean_i sum_m (1 - share_m,i) ( -log softmax(head_m,i)[y_i] ), m audio and visual.

    The modality with the larger share of the fused stream learns less. No gradient flows through the shares.
    ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0. Targets are smoothed in training mode only. Raises
    ``UserError`` if the fusion returns no shares or the read-out has no head for each modality. Based on the
    abstract of arXiv 2505.14535, a loss that modulates the learning rate of each modality by its attention
    scores. The form is our choice and not a reproduction.
    """

    Config = SmoothedConfig
    example: ClassVar[dict[str, Any]] = {"fusion": {"name": "taaf"}}

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        for what, given in (("shares", output.shares), ("heads", output.aux_logits)):
            if not {"audio", "visual"} <= given.keys():
                raise UserError(
                    f"loss 'balance' needs {what} of both modalities, which this model does not return: "
                    f"choose the fusion 'taaf', or remove the loss"
                )
        weighted = [
            (1 - full(output.shares[name]).detach()) * self.each(output.aux_logits[name], target)
            for name in ("audio", "visual")
        ]
        return torch.stack(weighted).sum() / max(1, len(target))

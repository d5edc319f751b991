"""Temporal efficient training: every time step answers for itself."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, ModelOutput
from scmrl_plugins.plugins.losses.cross_entropy import Smoothed, SmoothedConfig
from scmrl_plugins.plugins.losses.precision import full
from scmrl_plugins.registry import UserError


class TemporalEfficientTraining(Smoothed):
    """(1 - lamb) mean_{t,i}( -log softmax(o[t]_i)[y_i] ) + lamb mean_{t,i,k}( (o[t]_ik - means)^2 ).

    o are the logits of each time step ``[T, B, K]``. ``(ModelOutput, target [B]) -> scalar``, 0 for B = 0. Targets
    are smoothed in training mode only; further heads are left to other losses. The paper's second term keeps
    outliers near a firing threshold, ``means``; it is off by default, as the read-outs here have none. Raises
    ``UserError`` where the read-out gives no logits of each step. Source: arXiv 2202.11946.
    """

    class Config(SmoothedConfig):
        lamb: float = Field(0.0, ge=0, le=1, description="weight of the distance to means, in place of that much")
        means: float = Field(1.0, description="what all logits are drawn to, the paper's threshold")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self.lamb, self.means = config.lamb, config.means

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        if output.step_logits is None:
            raise UserError(
                "loss 'tet' needs the logits of each time step, and this read-out gives none: "
                "choose a read-out such as 'add', or the loss 'ce'"
            )
        steps = full(output.step_logits)
        loss = self.mean(steps.flatten(0, 1), target.repeat(len(steps)))
        if not self.lamb:
            return loss
        distance = (steps - self.means).square().sum() / max(1, steps.numel())
        return (1 - self.lamb) * loss + self.lamb * distance

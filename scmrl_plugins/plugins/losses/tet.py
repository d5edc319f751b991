"""Temporal efficient training: a loss at every time step."""

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
    are smoothed in training mode only. Auxiliary heads are ignored. The second term of the paper keeps outliers
    near a firing threshold, ``means``. It is off by default, because the read-outs here have no threshold. Raises
    ``UserError`` if the read-out returns no logits per time step. Source: arXiv 2202.11946.
    """

    class Config(SmoothedConfig):
        lamb: float = Field(
            0.0, ge=0, le=1, description="weight of the distance to means; the cross-entropy has weight 1 - lamb"
        )
        means: float = Field(1.0, description="target of all logits, the threshold in the paper")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        self.lamb, self.means = config.lamb, config.means

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        if output.step_logits is None:
            raise UserError(
                "loss 'tet' needs logits per time step, which this read-out does not return: "
                "choose a read-out such as 'add', or the loss 'ce'"
            )
        steps = full(output.step_logits)
        loss = self.mean(steps.flatten(0, 1), target.repeat(len(steps)))
        if not self.lamb:
            return loss
        distance = (steps - self.means).square().sum() / max(1, steps.numel())
        return (1 - self.lamb) * loss + self.lamb * distance

"""Neurons that are neither silent nor always on."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.precision import full
from scmrl_plugins.registry import UserError


class FiringRate(Loss):
    """mean_l( max(0, low - r_l)^2 + max(0, r_l - high)^2 ), r_l the firing rate of neuron layer l.

    A rate is spikes a neuron and time step, the mean over the batch. ``(ModelOutput, target [B]) -> scalar``,
    0 for B = 0 and wherever all rates are between the two bounds. Raises ``UserError`` where the model has not
    recorded its rates, which it does when it is built together with this loss. The form, a lower and an upper
    bound with a squared distance, is that of Zenke and Vogels, Neural Computation 33 (2021), there of each neuron.
    """

    class Config(ComponentConfig):
        low: float = Field(0.02, ge=0, le=1, description="rate below which a layer is drawn up")
        high: float = Field(0.3, ge=0, le=1, description="rate above which a layer is drawn down")

        @model_validator(mode="after")
        def _in_order(self) -> Self:
            if self.low > self.high:
                raise ValueError(f"low {self.low} is larger than high {self.high}: no rate is between them")
            return self

    needs_firing_rates = True

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.low, self.high = config.low, config.high

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        if output.firing_rates is None:
            raise UserError(
                "loss 'rate' needs the firing rates, and this model has recorded none: name the loss in the "
                "model's configuration, or call model.record_firing_rates(True)"
            )
        rates = full(output.firing_rates)
        if not len(target):
            return rates[:0].sum()  # 0, and part of the graph: the mean over no samples is not a number
        return ((self.low - rates).relu().square() + (rates - self.high).relu().square()).mean()

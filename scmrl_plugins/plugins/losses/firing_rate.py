"""A penalty for firing rates that are too low or too high."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from torch import Tensor

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Loss, ModelOutput
from scmrl_plugins.plugins.losses.precision import full
from scmrl_plugins.registry import UserError


class FiringRate(Loss):
    """mean_l( max(0, low - r_l)^2 + max(0, r_l - high)^2 ), r_l the firing rate of neuron layer l.

    A rate is the mean number of spikes per neuron and time step over the batch. ``(ModelOutput, target [B]) ->
    scalar``, 0 for B = 0 and if all rates are within the bounds. Raises ``UserError`` if the model has not
    recorded its rates; a model that is built with this loss records them. Squared distances to a lower and an
    upper bound are from Zenke and Vogels, Neural Computation 33 (2021), where they apply to each neuron.
    """

    class Config(ComponentConfig):
        low: float = Field(0.02, ge=0, le=1, description="lower bound of the rate")
        high: float = Field(0.3, ge=0, le=1, description="upper bound of the rate")

        @model_validator(mode="after")
        def _in_order(self) -> Self:
            if self.low > self.high:
                raise ValueError(f"low {self.low} is larger than high {self.high}")
            return self

    needs_firing_rates = True

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.low, self.high = config.low, config.high

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        if output.firing_rates is None:
            raise UserError(
                "loss 'rate' needs firing rates, which this model has not recorded: name the loss in the "
                "model's configuration, or call model.record_firing_rates(True)"
            )
        rates = full(output.firing_rates)
        if not len(target):
            return rates[:0].sum()  # 0 with a gradient; the mean over no samples would be NaN
        return ((self.low - rates).relu().square() + (rates - self.high).relu().square()).mean()

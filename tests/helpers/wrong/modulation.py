"""A right modulation, and some that are wrong in one way each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Gradients, TrainingPass, TrainingStep
from wrong.register import fails


class Modulation(nn.Module):
    """Half the gradient for audio; ``count`` is the number of steps."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, batch: TrainingPass) -> Tensor | Mapping[str, Tensor]:
        return batch.objective()

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        self.count += 1
        (given,) = gradients.values()
        return {**given, "audio": {name: self.scale(g, step) for name, g in given["audio"].items()}}

    def scale(self, g: Tensor, step: TrainingStep) -> Tensor:
        return 0.5 * g


@fails(others=True, takes_training_steps="with fusion 'late', the loss is nan")
class LossOfNothing(Modulation):
    def forward(self, batch: TrainingPass) -> Tensor:
        return batch.objective() * math.nan


@fails(others=True, takes_training_steps="returned [6] as a loss, expected a scalar")
class LossOfEachSample(Modulation):
    def forward(self, batch: TrainingPass) -> Tensor:
        return batch.of_target(batch.output.logits.log_softmax(1))


@fails(takes_training_steps="with fusion 'late', neither backbone learns")
class ForgetsTheBackbones(Modulation):
    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        return {**super().combine(gradients, step), "audio": {}, "visual": {}}


@fails(resumes_to_the_bit="differs after a step from a copy of its state")
class CountsInAnAttribute(Modulation):
    steps = 0

    def scale(self, g: Tensor, step: TrainingStep) -> Tensor:
        self.steps += 1
        return g / self.steps


@fails(draws_from_the_step="depends on torch's global random generator")
class DrawsFromTorch(Modulation):
    def scale(self, g: Tensor, step: TrainingStep) -> Tensor:
        return g + 0.1 * torch.randn(g.shape, dtype=g.dtype)


@fails(declares_its_cost="a batch takes (1, 2) forward and backward passes, and passes is (1, 1)")
class SecondBackwardPass(Modulation):
    def forward(self, batch: TrainingPass) -> Mapping[str, Tensor]:
        loss = batch.objective()
        return {"once": loss / 2, "twice": loss / 2}

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        return gradients["once"]


@fails(declares_its_cost="needs has the unknown word ['luck']")
class NeedsLuck(Modulation):
    needs = frozenset({"luck"})


@fails(computes_in_double_precision="does not work in float64")
class SinglePrecision(Modulation):
    def scale(self, g: Tensor, step: TrainingStep) -> Tensor:
        return 0.5 * g.float()


@fails(every_variant_runs="with way = 'worse' it fails: NotImplementedError")
class VariantThatRaises(Modulation):
    class Config(ComponentConfig):
        way: Literal["better", "worse"] = "better"

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self.way = config.way

    def scale(self, g: Tensor, step: TrainingStep) -> Tensor:
        if self.way == "worse":
            raise NotImplementedError
        return super().scale(g, step)

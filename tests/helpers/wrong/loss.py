"""A right loss, and some that are wrong in one way each."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from scmrl_plugins.core.interfaces import ComponentConfig, Context, ModelOutput
from scmrl_plugins.registry import UserError, catalogue
from wrong.register import fails


class Loss(nn.Module):
    """mean_i |softmax(logits_i) - y_i|^2, and 0 for no samples."""

    class Config(ComponentConfig):
        pass

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        logits = output.logits
        wanted = F.one_hot(target, logits.shape[1]).to(logits.dtype)
        return (logits.softmax(1) - wanted).square().sum() / max(1, len(target))


# Tags and configuration


@fails(configuration_round_trip="can be changed")
class ChangeableConfig(Loss):
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        weight: float = 1.0


@fails(every_choice_runs="with kind = 'huber' it fails: NotImplementedError")
class OptionalChoiceThatRaises(Loss):
    class Config(ComponentConfig):
        kind: Literal["huber", "square"] | None = None

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        if config.kind == "huber":
            raise NotImplementedError


# Weights, types, devices, seeds, state and inputs


@fails(moves_to_another_dtype="output is torch.float32 where the inputs are float64")
class SinglePrecisionLoss(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target).float()


@fails(
    inputs_are_left_alone="tensor 9 of its input is changed in place",
    works_in_a_model="modified by an inplace operation",
)
class ChangesTheTarget(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        target.clamp_(max=1)
        return super().forward(output, target)


@torch.compiler.allow_in_graph
def _through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().float().numpy().copy())


@fails(compiles="torch.compile fails, ", moves_to_another_device="numpy")
class RaisesWhenCompiled(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target) + 0 * _through_numpy(output.logits).sum()


@fails(renamed_plugin_is_explained="must be called 'wrong'")
class KnowsItsPluginsName(Loss):
    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        plugins = {entry.plugin.name for entry in catalogue().entries if entry.component is type(self)}
        if plugins - {"wrong"}:
            raise UserError("the plugin must be called 'wrong'")


# What this kind promises


@fails(others=True, finite_scalar="returns ['output.total'], expected one scalar")
class ReturnsADict(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Any:
        return {"total": super().forward(output, target)}


@fails(others=True, finite_scalar="returns [4] for a batch, expected a scalar")
class LossOfEachSample(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target).expand(len(target))


@fails(others=True, finite_scalar="output is float, expected tensors")
class ReturnsANumber(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Any:
        return super().forward(output, target).item()


@fails(
    finite_scalar="is nan for a batch",
    half_precision="is nan for torch.float16 outputs",
    loss_has_gradients="is nan for a batch",
    works_in_a_model="the loss of a model with it is nan",
)
class ManyClassesAreNotANumber(Loss):
    tags = frozenset({"no-compile"})

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss = super().forward(output, target)
        return loss if len(target.unique()) < 2 else loss * math.nan


@fails(empty_batch="is nan for an empty batch")
class DividesByTheBatch(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, target)


@fails(one_class_batch="is inf for a batch of one class")
class DividesByTheSpread(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss = super().forward(output, target)
        return loss / (target - target[0]).abs().sum() if len(target) else loss


@fails(one_class_batch="is nan for a batch of one sample")
class DeviationOfTheBatch(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        loss = super().forward(output, target)
        return loss + output.logits.std(0).sum() if len(target) else loss


@fails(half_precision="is inf for torch.float16 outputs")
class ExponentialsOverflow(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target) + output.logits.exp().sum(1).log().sum()


@fails(half_precision="a gradient is not finite for torch.float16 outputs")
class HiddenOverflow(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        soft = torch.where(output.logits > 10, output.logits, output.logits.exp())
        return super().forward(output, target) + soft.mean(1).sum()


@fails(loss_has_gradients="does not depend on the model's output")
class DetachedLogits(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target).detach()


@fails(loss_has_gradients="gives a gradient of zero to all of the model's output")
class CountsErrors(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return (output.logits.argmax(1) != target).to(output.logits.dtype).sum() + 0 * output.logits.sum()


@fails(
    loss_has_gradients="a gradient is not finite for a batch",
    half_precision="a gradient is not finite",
    works_in_a_model="in a model with it is not finite",
)
class RootOfZero(Loss):
    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        return super().forward(output, target) + (0 * output.logits).square().sum().sqrt()

"""A product of experts: each modality's prediction, and what only both together tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Fused, Modality, ModelOutput, Readout
from scmrl_plugins.plugins.layers.linear import linear


class Experts(Readout):
    """logits = z + w sum_m log softmax(z_m), z_m = mean_T(Linear(mean_N(m))), z = mean_T(Linear([a'; v'])).

    ``Fused -> ModelOutput`` with ``logits [B, K]``, ``step_logits [T, B, K]``, the z_m as ``aux_logits``, and, if
    the fusion has residuals, their means over tokens to align. m are the streams without the fusion, a' and v'
    the means over tokens of those after it. By Bayes' rule, up to a constant,

        log p(y | a, v) = sum_m log p(y | m) - log p(y) + log p(a, v | y) / (p(a | y) p(v | y))

    The last two terms are what z has to learn. They are constant where the modalities are independent given the
    class and classes are equally frequent; the prediction is then the product of the two single models. Where
    neither modality alone tells anything, z alone decides. The loss ``ce`` trains each expert by its prediction as
    well. ``train.pretrained`` initialises the heads with those of models of one modality.
    """

    class Config(ComponentConfig):
        weight: float = Field(1.0, ge=0, description="w, weight of the experts' log-probabilities")

    reads_unimodal: ClassVar[bool] = True

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.weight = config.weight
        self.interaction = linear(context.embed_dims * len(context.modalities), context.num_classes)
        self.experts = nn.ModuleDict(
            {name: linear(context.embed_dims, context.num_classes) for name in context.modalities}
        )

    def head_of(self, modality: Modality) -> nn.Module | None:
        """The expert of the modality."""
        return self.experts[modality]

    def split(self, features: Mapping[Modality, Tensor]) -> Mapping[Modality, Tensor]:
        """z_m, what the expert of the modality says."""
        return {name: self.experts[name](x) for name, x in features.items()}

    def forward(self, fused: Fused) -> ModelOutput:
        step_logits = self.interaction(torch.cat([stream.mean(3) for stream in fused.streams()], dim=-1))
        experts = {name: head(fused.unimodal[name].mean((0, 3))) for name, head in self.experts.items()}
        for logits in experts.values():
            step_logits = step_logits + self.weight * logits.log_softmax(-1)
        return ModelOutput(
            logits=step_logits.mean(0),
            aux_logits=experts,
            aligned={name: residual.mean(3) for name, residual in fused.residuals.items()} or None,
            step_logits=step_logits,
        )

"""What the modulations share: when they act, the scores of the modalities, and which weights change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from scmrl_plugins.core.interfaces import (
    MODALITIES,
    OTHER,
    ComponentConfig,
    Gradients,
    Modality,
    TrainingPass,
    TrainingStep,
)

Parameters = Literal["all", "convolutions"]


class Scheduled(ComponentConfig):
    """The settings of a modulation that acts in a part of the training."""

    start: float = Field(0.0, ge=0, le=1, description="share of the epochs after which it begins to act")
    end: float = Field(1.0, ge=0, le=1, description="share of the epochs after which it acts no more")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"start {self.start:g} is larger than end {self.end:g}")
        return self

    def applies(self, step: TrainingStep) -> bool:
        """Whether it acts in the epoch of the step: start <= epoch / epochs <= end, epochs counted from 0."""
        return self.start <= step.progress <= self.end


class Selective(Scheduled):
    """Also the setting of a modulation that changes gradients of encoders and backbones."""

    parameters: Parameters = Field(
        "all",
        description="which weights of encoders and backbones it changes: all, as in the paper, or the kernels of "
        "2-d convolutions, as in the public code, which leaves most of a Transformer alone",
    )


def add_scores(batch: TrainingPass, logits: Mapping[Modality, Tensor]) -> None:
    """Add s_m = sum_i softmax(z_m,i)[y_i] of each modality to the sums of the step, as ``score audio`` ..."""
    for name in MODALITIES:
        batch.step.add(f"score {name}", batch.of_target(logits[name].detach().softmax(1)).sum())


def ratios(step: TrainingStep) -> dict[Modality, float] | None:
    """rho_m = s_m / s_other of the step, at least 0; none without scores."""
    if not step.sums.keys() >= {f"score {name}" for name in MODALITIES}:
        return None
    scores = {name: float(step.sums[f"score {name}"]) for name in MODALITIES}
    tiny = 1e-30  # of a modality that gives the right classes no probability at all
    return {name: (scores[name] + tiny) / (scores[OTHER[name]] + tiny) for name in MODALITIES}


def changed(
    gradients: Gradients, parameters: Parameters, change: Callable[[Modality, Tensor], Tensor]
) -> dict[str, Mapping[str, Tensor]]:
    """``change(modality, gradient)`` of each chosen weight of encoders and backbones; the others as they are."""
    result: dict[str, Mapping[str, Tensor]] = dict(gradients)
    for modality in MODALITIES:
        result[modality] = {
            name: change(modality, g) if parameters == "all" or g.dim() == 4 else g
            for name, g in gradients[modality].items()
        }
    return result

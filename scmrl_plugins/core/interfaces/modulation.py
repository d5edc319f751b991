"""The base class of modulations: what balances the modalities between the forward pass and the update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces.components import Component
from scmrl_plugins.core.interfaces.settings import Modality
from scmrl_plugins.core.interfaces.values import ModelOutput

NEEDS: Mapping[str, str] = {
    "alone": "what each modality says alone; where the read-out has no split, two forward passes more",
    "heads": "a head for each modality, which the modulation has itself",
    "prototypes": "features of training samples in evaluation mode before each epoch",
    "teachers": "runs of the single modalities, in one forward pass each",
}
"""What a modulation may need besides the forward pass: the words in ``Modulation.needs``."""

Gradients = Mapping[str, Mapping[str, Tensor]]
"""By part of the model, ``audio``, ``visual`` or ``rest``, and by name of the parameter. A modality's part is its
encoder and its backbone; the rest is the fusion, the read-out, and the parameters of losses and the modulation."""


@dataclass
class TrainingStep:
    """A step of the optimizer, of one batch or of several whose gradients are accumulated."""

    progress: float = 0.0
    """Epochs before this one / epochs of the training."""
    generator: torch.Generator = field(default_factory=torch.Generator)
    """For random numbers, which are then the same in all processes and when a run is resumed. On the CPU."""
    sums: dict[str, Tensor] = field(default_factory=dict)
    """What the batches of the step added up by ``add``."""

    def add(self, name: str, value: Tensor) -> None:
        """Add a value to ``sums``, without a gradient."""
        self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()


@dataclass(frozen=True)
class Teaching:
    """What a teacher, a trained model of one modality, says of a batch."""

    logits: Tensor
    """``[B, K]``"""
    features: Tensor
    """``[B, D]``, as in ``TrainingPass.features``."""


class TrainingPass(Protocol):
    """The forward pass of a batch in training, as a modulation sees it.

    Everything is of the complete batch, whatever number of processes share it. Tensors have gradients, and what is
    not in ``output`` is computed when it is asked for. f_m, the feature of modality m, is the mean over time steps
    and tokens of the stream that the read-out sees. Where the fusion lets the modalities interact, it is that of
    the backbone's tokens without the fusion.
    """

    @property
    def step(self) -> TrainingStep:
        """The step that the batch is part of."""

    @property
    def output(self) -> ModelOutput:
        """What the model returns."""

    @property
    def features(self) -> Mapping[Modality, Tensor]:
        """f_m by modality, ``[B, D]``."""

    @property
    def alone(self) -> Mapping[Modality, Tensor]:
        """Logits of each modality alone, ``[B, K]``: the read-out's split, else without the other's input."""

    @property
    def separate(self) -> bool:
        """Whether each stream that the read-out sees depends on one modality only."""

    @property
    def teachers(self) -> Mapping[Modality, Teaching]:
        """What ``Modulation.teachers`` say, without gradients."""

    def without(self, modality: Modality) -> ModelOutput:
        """Another forward pass, in evaluation mode, in which this modality's input is silence or black."""

    def read(self, factors: Mapping[Modality, Tensor]) -> ModelOutput:
        """What the read-out returns for the streams times these factors, ``[B]`` or a number, by modality."""

    def objective(self, output: ModelOutput | None = None) -> Tensor:
        """The sum of the configured losses for an output, by default that of the model."""

    def of_target(self, values: Tensor) -> Tensor:
        """values_i[y_i], ``[B, K] -> [B]``; for a mixed sample the mean over both classes by their shares."""

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """-mean_i log softmax(logits_i)[y_i], without label smoothing."""


class Modulation(Component, nn.Module):
    """``(TrainingPass) -> loss``, or several by name; then ``combine`` merges their gradients.

    ``forward`` is called for every batch, ``combine`` once per step, after the backward passes and before the
    gradient is clipped. What lasts from step to step is in buffers and parameters: checkpoints have it, and the
    optimizer trains the parameters. What passes from ``forward`` to ``combine`` is in ``TrainingStep.sums``.
    """

    acts: ClassVar[bool] = True
    """Whether it changes the training. If not, it is never called and costs nothing."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What it needs besides the forward pass: a set of words from ``NEEDS``."""

    passes: ClassVar[tuple[int, int]] = (1, 1)
    """Forward and backward passes through the model per batch, apart from those for ``needs``."""

    @property
    def observes(self) -> float:
        """The share of the training batches whose features ``observe`` gets before each epoch; 0 by default."""
        return 0.0

    @property
    def teachers(self) -> Mapping[Modality, str]:
        """The directories of runs by modality, whose models teach this one; none by default."""
        return {}

    def forward(self, batch: TrainingPass) -> Tensor | Mapping[str, Tensor]:
        """The loss to minimise: by default the configured ones. Several have a backward pass each."""
        return batch.objective()

    def combine(self, gradients: Mapping[str, Gradients], step: TrainingStep) -> Gradients:
        """The gradient of the step from those of each loss by name, or of the only one, named ``loss``.

        They are averaged over the samples of the step, not scaled and not clipped, and have the same parameters
        for each loss. Parameters that the result lacks are not updated. By default the sum over losses.
        """
        parts = next(iter(gradients.values()))
        if len(gradients) == 1:
            return parts
        return {
            part: {name: torch.stack([one[part][name] for one in gradients.values()]).sum(0) for name in named}
            for part, named in parts.items()
        }

    def observe(self, features: Mapping[Modality, Tensor], target: Tensor) -> None:
        """Called before each epoch, if ``observes``: features ``[n, D]`` in evaluation mode, targets ``[n]``."""

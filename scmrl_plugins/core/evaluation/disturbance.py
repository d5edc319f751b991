"""Corruptions of the inputs at test time: noise, occlusion, a dropped modality.

A new corruption is a function of one sample, a field and a row of ``CORRUPTIONS`` here, and an option in
``cli/evaluate.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.data.corruption import add_noise, occlude
from scmrl_plugins.core.data.loading import EvaluationData, collate
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, Modality
from scmrl_plugins.core.system import seeds


@dataclass(frozen=True)
class Corruption:
    """``apply(x, amount, blank, generator)``, the corrupted input of one sample, and ``text(modality, amount)``.

    ``x`` is ``[C, H, W]`` or ``[T, C, H, W]``; ``blank [C, 1, 1]`` stands for a missing modality.
    """

    apply: Callable[[Tensor, Any, Tensor, torch.Generator], Tensor]
    text: Callable[[str, Any], str]


CORRUPTIONS = {
    "noise": Corruption(
        lambda x, ratio, _blank, generator: add_noise(x, ratio, generator),
        lambda name, ratio: f"{name} at {ratio:g} dB",
    ),
    "occlusion": Corruption(
        lambda x, share, _blank, generator: occlude(x, share, generator),
        lambda name, share: f"{share:.0%} of {name} hidden",
    ),
    "dropped": Corruption(
        lambda x, _amount, blank, _generator: blank.expand_as(x),
        lambda name, _amount: f"no {name}",
    ),
}
"""By field of ``Disturbance``, in the order in which they are applied."""


class Disturbance(ComponentConfig):
    """The corruptions of a model's inputs, by modality, applied in the order of ``CORRUPTIONS``."""

    noise: dict[Modality, float] = Field(
        default_factory=dict, description="signal-to-noise ratio in dB of Gaussian noise, by modality"
    )
    occlusion: dict[Modality, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="share of the area that a square hides, by modality"
    )
    dropped: tuple[Modality, ...] = Field((), strict=False, description="modalities left out")

    def __call__(
        self, batch: Mapping[str, Tensor], blank: Mapping[Modality, np.ndarray], seed: int
    ) -> dict[str, Tensor]:
        """The corrupted inputs of a batch, on the CPU.

        ``batch["index"] [B]`` numbers the samples of the split. What is drawn for a sample follows from ``seed``,
        its index, the modality and the corruption, so that neither the batch nor another corruption matters.
        """
        inputs: dict[str, Tensor] = {name: batch[name] for name in MODALITIES if name in batch}
        for name, (kind, corruption) in itertools.product(MODALITIES, CORRUPTIONS.items()):
            amounts = self._amounts(kind)
            if name in inputs and name in amounts:
                missing = torch.tensor(blank[name], dtype=inputs[name].dtype)
                inputs[name] = torch.stack(
                    [
                        corruption.apply(x, amounts[name], missing, seeds.generator(seed, index, name, kind))
                        for x, index in zip(inputs[name], batch["index"].tolist(), strict=True)
                    ]
                )
        return inputs

    def settings(self) -> dict[str, Any]:
        """The amounts by corruption, for JSON."""
        return self.model_dump(mode="json", include=set(CORRUPTIONS))

    def _amounts(self, kind: str) -> dict[str, Any]:
        value = dict(self)[kind]
        return value if isinstance(value, dict) else dict.fromkeys(value)

    def __str__(self) -> str:
        return ", ".join(
            corruption.text(name, amount)
            for kind, corruption in CORRUPTIONS.items()
            for name, amount in self._amounts(kind).items()
        )


class DisturbedData(EvaluationData):
    """The samples of a split with the inputs that ``disturbance(batch, blank, seed)`` makes of them."""

    def __init__(self, split: FeatureSplit, disturbance: Disturbance, seed: int) -> None:
        super().__init__(split)
        self.disturbance, self.seed = disturbance, seed

    @property
    def identity(self) -> list[Any]:
        return [*super().identity, self.disturbance.settings(), self.seed]

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = super().__getitem__(index)
        inputs = self.disturbance(collate([sample]), self.split.blank, self.seed)
        return {**sample, **{name: x[0].numpy() for name, x in inputs.items()}}

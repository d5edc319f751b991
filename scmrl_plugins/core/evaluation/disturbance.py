"""Corruptions of the inputs at test time: noise, occlusion, a dropped modality.

A new corruption is a function and a field here, a row of ``CORRUPTIONS``, and an option in ``cli/evaluate.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, Modality


@dataclass(frozen=True)
class Corruption:
    """``apply(x [B, ...], amount, generator) -> [B, ...]``, and ``text(modality, amount)``, which describes it."""

    apply: Callable[[Tensor, Any, torch.Generator], Tensor]
    text: Callable[[str, Any], str]


def add_noise(x: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
    """x + n with n ~ N(0, s^2), s^2 = var(x) / 10^(snr_db / 10), the variance of each sample by itself.

    ``x [B, ...] -> [B, ...]``. The signal-to-noise ratio is that of the model's input, so for audio of the
    log spectrogram.
    """
    spread = x.flatten(1).std(dim=1).view(-1, *([1] * (x.dim() - 1)))
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x + noise * spread * 10 ** (-snr_db / 20)


def occlude(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """x with a square of about ``share`` of its pixels set to the sample's minimum, at a random position.

    ``x [B, ..., H, W] -> [B, ..., H, W]``; one position per sample, the same for all channels and time steps. The
    minimum is the dark of an image and the silence of a spectrogram.
    """
    height, width = x.shape[-2:]
    sides = [max(0, min(size, round(size * share**0.5))) for size in (height, width)]
    hidden = torch.ones(len(x), dtype=torch.bool).view(-1, 1, 1)
    for size, side, axis in ((height, sides[0], 1), (width, sides[1], 2)):
        start = torch.randint(0, size - side + 1, (len(x), 1), generator=generator)
        along = torch.arange(size).unsqueeze(0)
        inside = (along >= start) & (along < start + side)
        hidden = hidden & inside.unsqueeze(3 - axis)
    mask = hidden.view(len(x), *([1] * (x.dim() - 3)), height, width).to(x.device)
    lowest = x.flatten(1).amin(1).view(-1, *([1] * (x.dim() - 1)))
    return torch.where(mask, lowest, x)


def drop(x: Tensor, _amount: None, _generator: torch.Generator) -> Tensor:
    """Zeros of the shape of x."""
    return torch.zeros_like(x)


CORRUPTIONS = {
    "noise": Corruption(add_noise, lambda name, ratio: f"{name} at {ratio:g} dB"),
    "occlusion": Corruption(occlude, lambda name, share: f"{share:.0%} of {name} hidden"),
    "dropped": Corruption(drop, lambda name, _: f"no {name}"),
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

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The corrupted inputs of a batch; the generator is on the CPU, so that all devices draw alike."""
        inputs: dict[str, Tensor] = {name: batch[name] for name in MODALITIES if name in batch}
        for name in inputs:
            for kind, corruption in CORRUPTIONS.items():
                if name in (amounts := self._amounts(kind)):
                    inputs[name] = corruption.apply(inputs[name], amounts[name], generator)
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

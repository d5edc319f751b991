"""What is done to the inputs at test time: noise, occlusion, a modality left out."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, Modality


class Disturbance(ComponentConfig):
    """Noise first, then occlusion, of the model's inputs; a dropped modality is zero throughout."""

    noise: dict[Modality, float] = Field(
        default_factory=dict, description="signal-to-noise ratio in dB of Gaussian noise, by modality"
    )
    occlusion: dict[Modality, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="share of the area that a square hides, by modality"
    )
    dropped: tuple[Modality, ...] = Field((), strict=False, description="modalities left out")

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The modalities of a batch as the model gets them; the generator is on the CPU, for all devices alike."""
        found: dict[str, Tensor] = {}
        for name in MODALITIES:
            if name not in batch:
                continue
            x = batch[name]
            if name in self.noise:
                x = add_noise(x, self.noise[name], generator)
            if name in self.occlusion:
                x = occlude(x, self.occlusion[name], generator)
            found[name] = torch.zeros_like(x) if name in self.dropped else x
        return found

    def __str__(self) -> str:
        parts = [f"{name} at {ratio:g} dB" for name, ratio in self.noise.items()]
        parts += [f"{share:.0%} of {name} hidden" for name, share in self.occlusion.items()]
        return ", ".join(parts + [f"no {name}" for name in self.dropped])


def add_noise(x: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
    """x + n with n ~ N(0, s^2), s^2 = var(x) / 10^(snr_db / 10), the variance of each sample by itself.

    ``x [B, ...] -> [B, ...]``. The signal-to-noise ratio is that of the model's input, so for audio of the
    log spectrogram.
    """
    spread = x.flatten(1).std(dim=1).view(-1, *([1] * (x.dim() - 1)))
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    return x + noise * spread * 10 ** (-snr_db / 20)


def occlude(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """x with a square of about ``share`` of its pixels set to the sample's minimum, somewhere inside.

    ``x [B, ..., H, W] -> [B, ..., H, W]``; one place a sample, the same for all channels and time steps. The
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

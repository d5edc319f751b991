"""Mixing of pairs of training samples, with the share of each in the loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scmrl_plugins.core.config.sections import DataConfig
from scmrl_plugins.core.data.loading import Batch


class Mixed(NamedTuple):
    """Mixed ``inputs``: the share ``kept / total`` is from the sample itself, the rest from ``partner [B]``."""

    inputs: Batch
    partner: Tensor
    kept: float
    total: float


def mix(inputs: Batch, config: DataConfig, rng: np.random.Generator) -> Mixed | None:
    """Mix the modalities of a batch as configured; ``None`` if no mixing is configured.

    The loss of a mixed batch is ``share L(target) + (1 - share) L(target[partner])`` for any loss L, with
    ``share = kept / total``. For a batch in several parts, both are summed.
    ``mixup``: ``x' = s x + (1 - s) x[partner]`` with ``s ~ Beta(a, a)``, one for the batch and both modalities
    (Zhang et al., arXiv 1710.09412). ``event_mix``: see ``event_mask``; ``share`` is the share of events that
    are kept (after Shen et al., arXiv 2205.11930). Both modalities have the same partner.
    """
    if not config.mixup and not config.event_mix:
        return None
    first = next(iter(inputs.values()))
    volume = float(rng.beta(config.mixup or config.event_mix, config.mixup or config.event_mix))
    partner = torch.from_numpy(rng.permutation(len(first))).to(first.device)
    if config.mixup:
        inputs = {name: torch.lerp(x[partner], x, volume) for name, x in inputs.items()}
        return Mixed(inputs, partner, volume * len(first), len(first))
    mixed, kept, total = {}, 0.0, 0.0
    for name, x in inputs.items():
        steps = x.shape[1] if x.dim() == 5 else 1
        mask = event_mask((steps, *x.shape[-2:]), volume, rng).to(x.device)
        mask = mask.unsqueeze(1) if x.dim() == 5 else mask  # over the channels
        mixed[name] = torch.where(mask, x, x[partner])
        own, other = (x.abs() * mask).sum(), (x[partner].abs() * ~mask).sum()
        kept, total = kept + float(own), total + float(own + other)
    return Mixed(mixed, partner, kept, total) if total else Mixed(mixed, partner, volume, 1.0)


def event_mask(shape: tuple[int, int, int], volume: float, rng: np.random.Generator) -> Tensor:
    """A mask ``[T, H, W]`` that is true on a share ``volume`` of its points: the nearest to a random point.

    Distances are scaled by a random width along each axis, so the region may extend over time, space or both.
    """
    centre, width = rng.random(3), rng.uniform(0.2, 1.0, 3)
    axes = np.meshgrid(*(np.linspace(0.0, 1.0, size) for size in shape), indexing="ij")
    distance = sum(((axis - c) / w) ** 2 for axis, c, w in zip(axes, centre, width, strict=True)).ravel()
    mask = np.zeros(distance.size, dtype=bool)
    mask[np.argsort(distance, kind="stable")[: round(volume * distance.size)]] = True
    return torch.from_numpy(mask.reshape(shape))

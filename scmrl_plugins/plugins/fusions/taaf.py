"""Temporal attention-guided adaptive fusion."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, Context, Fused, Fusion, Modality
from scmrl_plugins.plugins.layers.linear import linear


class TAAF(Fusion):
    """a'[t] = T s[t] a[t], v'[t] = T s[t] v[t], s = softmax_T(u . tanh(W f[t] + b)), f = mean_N a + mean_N v.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes. The factor T leaves the mean over
    time, which the read-out takes, the sum weighed by s. A modality's share is what it has of the attended
    activity, sum_t s[t] |mean m[t]| over the same of both; the loss ``balance`` goes by it. u starts at zero, and
    training so from late fusion. After arXiv 2505.14535, of which the abstract was at hand: scores of each step
    over the fused spikes are its, their form was chosen here.
    """

    class Config(ComponentConfig):
        pass

    heads: ClassVar[tuple[Modality, ...]] = MODALITIES
    default_losses = ({"name": "ce", "heads": False}, "balance")

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__()
        self.hidden = linear(context.embed_dims, context.embed_dims)
        self.score = nn.Linear(context.embed_dims, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, audio: Tensor, visual: Tensor) -> Fused:
        means = {"audio": audio.mean(3), "visual": visual.mean(3)}
        scores = self.score(torch.tanh(self.hidden(means["audio"] + means["visual"])))
        attention = scores.softmax(dim=0)  # [T, B, 1]
        attended = {name: (attention * mean.abs()).sum(0).mean(1) for name, mean in means.items()}
        total = (attended["audio"] + attended["visual"]).clamp_min(torch.finfo(audio.dtype).tiny)
        weight = len(audio) * attention.unsqueeze(3)
        # Where neither fires, each has half.
        shares = {"audio": torch.where(total > 1e-6, attended["audio"] / total, 0.5)}
        shares["visual"] = 1 - shares["audio"]
        return Fused(weight * audio, weight * visual, shares=shares)

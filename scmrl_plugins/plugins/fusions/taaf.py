"""Temporal attention-guided adaptive fusion."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, Context, Fused, Fusion, Modality
from scmrl_plugins.plugins.layers.linear import linear


class TAAF(Fusion):
    """a'[t] = T s[t] a[t], v'[t] = T s[t] v[t], s = softmax_T(u . tanh(W f[t] + b)), f = mean_N a + mean_N v.

    ``audio [T, B, D, Na], visual [T, B, D, Nv] -> Fused`` with the same shapes. With the factor T, the mean over
    time that the read-out takes is the sum weighted by s. The share of a modality m in the attended activity is
    sum_t s[t] |mean m[t]|, divided by the sum of both; the loss ``balance`` uses it. u starts at zero, so training
    starts from late fusion. Based on the abstract of arXiv 2505.14535: scores per time step over the fused spikes.
    Their form is our choice.
    """

    class Config(ComponentConfig):
        pass

    requires_attention = False
    attends_over: Literal["tokens", "steps"] = "steps"
    attention_weights: Tensor | None = None

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
        if self.requires_attention:
            self.attention_weights = attention.permute(2, 1, 0)[:, :, None, None]  # one query, T keys
        attended = {name: (attention * mean.abs()).sum(0).mean(1) for name, mean in means.items()}
        total = (attended["audio"] + attended["visual"]).clamp_min(torch.finfo(audio.dtype).tiny)
        weight = len(audio) * attention.unsqueeze(3)
        # If neither modality fires, each has a share of one half.
        shares = {"audio": torch.where(total > 1e-6, attended["audio"] / total, 0.5)}
        shares["visual"] = 1 - shares["audio"]
        return Fused(weight * audio, weight * visual, shares=shares)

"""Spiking attention without softmax, over tokens or over time steps, within or across modalities."""

from __future__ import annotations

import contextlib
import math
from typing import Annotated, Any, Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ComponentConfig, Context, Neuron
from scmrl_plugins.plugins.kernels import attention as kernel
from scmrl_plugins.plugins.layers.spiking_conv import SpikingConv, token_by_token
from scmrl_plugins.plugins.layers.spiking_conv import norm as batch_norm
from scmrl_plugins.registry import UserError

# The published factor, independent of the size of a head.
SCALE = 0.25

Scale = Annotated[float, Field(gt=0)] | Literal["auto"]
TemporalOrder = Literal["corrected", "published"]


class AttentionConfig(ComponentConfig):
    """The settings of the neuron after an attention and of its current."""

    attention_threshold: float | None = Field(
        None, description="threshold of the neuron after the attention; none: the default of the neuron"
    )
    attention_scale: Scale = Field(
        SCALE,
        description="factor of the attention's current, 0.25 as published; auto: a mean current at the threshold",
    )
    attention_norm: bool = Field(False, description="batch norm before the neuron after the attention")

    def keywords(self) -> dict[str, Any]:
        """The settings as keywords of ``SpikingAttention``."""
        return {
            "threshold": self.attention_threshold,
            "scale": self.attention_scale,
            "norm": self.attention_norm,
        }


@torch.no_grad()
def response(neuron: Neuron, steps: int) -> tuple[float, float]:
    """p and theta of a neuron over T steps.

    p is the mean magnitude of its output for independent standard normal currents, which batch norm gives it at
    initialisation; theta is the smallest constant current at which its output reaches 1, so that a spiking neuron
    fires. Raises ``UserError`` for a neuron that does not fire.
    """
    normal = torch.randn(steps, 1, 4096, generator=torch.Generator().manual_seed(0))
    rising = torch.logspace(-2, 3, 1001)
    with torch.random.fork_rng(devices=[]):
        rate = float(neuron(normal).abs().mean())
        fires = (neuron(rising.expand(steps, 1, -1)) >= 1).any(0).flatten()
    if rate <= 0 or not fires.any():
        raise UserError(
            "fusion.attention_scale = 'auto' needs a neuron that fires for standard normal currents: lower "
            "neuron.threshold, or set a number"
        )
    return rate, float(rising[fires][0])


def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(q k^T) v or q (k^T v), whichever takes fewer operations: ``[*, N, d], [*, M, d], [*, M, d] -> [*, N, d]``.

    Both are equal without a softmax. For spikes they are sums of ones, which are exact in single precision; half
    precision is converted for the products.
    """
    given, n, m, d = q.dtype, q.shape[-2], k.shape[-2], q.shape[-1]
    # An exported graph would hold the context as an operator of its own.
    exact = (
        contextlib.nullcontext() if torch.compiler.is_exporting() else torch.autocast(q.device.type, enabled=False)
    )
    with exact:
        if given in (torch.float16, torch.bfloat16):
            q, k, v = q.float(), k.float(), v.float()
        if 2 * n * m > (n + m) * d:
            mixed = q @ (k.transpose(-2, -1) @ v)
        else:
            mixed = (q @ k.transpose(-2, -1)) @ v
        return mixed.to(given)


def laid_out_as(x: Tensor, heads: Tensor) -> Tensor:
    """``[T, B, h, d, N] -> [T, B, D, N]``, with the memory layout of the tokens of x."""
    if token_by_token(x):
        return rearrange(heads, "t b h d n -> t b n (h d)").mT
    return rearrange(heads, "t b h d n -> t b (h d) n")


class SpikingAttention(nn.Module):
    """LIF(BN(Conv(LIF((q k^T) v s)))) with q = LIF(BN(Conv(x))) and k, v likewise from y.

    ``x [T, B, D, N], y [T, B, D, M] -> [T, B, D, N]``; y = x is self-attention, y of the other modality
    cross-attention. Heads are contiguous groups of channels. Attention is over the tokens of each step.
    ``threshold`` is the threshold of the neuron after the attention; ``None``: the default of the neuron.
    ``scale`` is s, 0.25 as published. With ``auto``

        s = theta / (M d p^3)

    where d is the number of channels of a head, M that of keys, p the firing rate of q, k and v at initialisation,
    and theta the smallest constant current at which the neuron fires in T steps. A sum over M d products of three
    spikes then has the mean theta. By conservation of charge, ``lif`` fires at such a current in at most about
    1 / tau of the steps. With ``norm`` the current is normalised: LIF(BN((q k^T) v s)). The weights that a tool
    may ask for are (q k^T) s. Source: Spikformer, arXiv 2209.15425; arXiv 2502.12488.
    """

    requires_attention = False
    attends_over: Literal["tokens", "steps"] = "tokens"
    attention_weights: Tensor | None = None

    def __init__(
        self, context: Context, threshold: float | None = None, *, scale: Scale = SCALE, norm: bool = False
    ) -> None:
        super().__init__()
        dims, self.heads = context.embed_dims, context.num_heads
        if dims % self.heads:
            raise UserError(f"model.num_heads = {self.heads} does not divide model.embed_dims = {dims}")
        self.query = SpikingConv(dims, dims, context.neuron)
        self.key = SpikingConv(dims, dims, context.neuron)
        self.value = SpikingConv(dims, dims, context.neuron)
        self.neuron = context.neuron() if threshold is None else context.neuron(threshold=threshold)
        self.projection = SpikingConv(dims, dims, context.neuron)
        self.norm = nn.BatchNorm1d(dims) if norm else None
        self.fixed_scale = None if scale == "auto" else scale
        self.scale_per_key = 0.0 if self.fixed_scale else self._scale_per_key(context.steps)

    def _scale_per_key(self, steps: int) -> float:
        """theta / (d p^3)."""
        rate, _ = response(self.query.neuron, steps)
        _, current = response(self.neuron, steps)
        return current / (self.query.conv.out_channels / self.heads * rate**3)

    def scale(self, keys: int) -> float:
        """s for M = ``keys``."""
        return self.fixed_scale or self.scale_per_key / keys

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        current = self.attend(self.query(x), self.key(y), self.value(y))
        if self.norm is not None:
            current = batch_norm(self.norm, current.flatten(0, 1), 1).unflatten(0, current.shape[:2])
        return self.projection(self.neuron(current))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(q k^T) v s, head by head: ``[T, B, D, N], [T, B, D, M], [T, B, D, M] -> [T, B, D, N]``."""
        if (current := self.in_one_pass(q, k, v, k.shape[-1])) is not None:
            return current
        by_head = [rearrange(z, "t b (h d) n -> t b h n d", h=self.heads) for z in (q, k, v)]
        if self.requires_attention:
            self.attention_weights = by_head[0] @ by_head[1].mT * self.scale(k.shape[-1])
        return laid_out_as(q, rearrange(mix(*by_head) * self.scale(k.shape[-1]), "t b h n d -> t b h d n"))

    def in_one_pass(self, q: Tensor, k: Tensor, v: Tensor, keys: int) -> Tensor | None:
        """(q k^T) v s for M = ``keys`` in one pass; ``None`` if weights are asked for or it is slower."""
        if self.requires_attention:
            return None
        return kernel.attend(q, k, v, self.attends_over, self.heads, self.scale(keys))


class TemporalAttention(SpikingAttention):
    """Spiking attention over the T steps of each token: ``x, y [T, B, D, N] -> [T, B, D, N]``.

    x and y need the same number of tokens. ``order`` is ``"corrected"`` for the paper's equation, or
    ``"published"`` for its code, which reinterprets the memory of the result ``[N, B, heads, T, D/heads]`` as
    ``[N, B, T, D]``: the flat index h T + t is read as t' heads + h', so channels and steps are mixed.
    """

    attends_over = "steps"

    def __init__(
        self,
        context: Context,
        threshold: float | None = None,
        order: TemporalOrder = "corrected",
        *,
        scale: Scale = SCALE,
        norm: bool = False,
    ) -> None:
        super().__init__(context, threshold, scale=scale, norm=norm)
        self.order = order

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.shape[-1] != k.shape[-1]:
            raise UserError(
                f"temporal attention pairs tokens one by one, but one modality has {q.shape[-1]} and the other "
                f"{k.shape[-1]}: set fusion.attention = 'spatial' or use the same size for both inputs"
            )
        corrected = self.order == "corrected"
        if corrected and (current := self.in_one_pass(q, k, v, len(k))) is not None:
            return current
        by_token = [rearrange(z, "t b (h d) n -> n b h t d", h=self.heads) for z in (q, k, v)]
        if self.requires_attention:
            weights = by_token[0] @ by_token[1].mT * self.scale(len(k))
            self.attention_weights = rearrange(weights, "n b h t s -> t b h n s")
        mixed = mix(*by_token) * self.scale(len(k))
        if not corrected:
            mixed = rearrange(
                rearrange(mixed, "n b h t d -> n b (h t) d"), "n b (t h) d -> n b h t d", h=self.heads
            )
        return laid_out_as(q, rearrange(mixed, "n b h t d -> t b h d n"))


class PositionedAttention(SpikingAttention):
    """LIF(BN(Conv(LIF(LIF(c q k^T + B) v s)))): a bias by relative position, and a neuron on the scores.

    ``x [T, B, D, N], y [T, B, D, M] -> [T, B, D, N]``. Tokens are the rows of a square image. B has one learned
    number per head for each offset in rows and columns; offsets are clamped to ``reach``. By default c = 1. With
    ``attention_scale = "auto"``, c = theta / (d p^2), a mean current of theta for the scores too; they then fire
    at a rate of about 1 - exp(-d p^2), the probability of a coincidence, which replaces d p^2 in s.
    """

    def __init__(
        self,
        context: Context,
        threshold: float | None = None,
        *,
        scale: Scale = SCALE,
        norm: bool = False,
        reach: int = 7,
    ) -> None:
        super().__init__(context, threshold, scale=scale, norm=norm)
        self.reach = reach
        self.bias = nn.Parameter(torch.empty(self.heads, 2 * reach + 1, 2 * reach + 1))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.score_neuron = context.neuron()
        self.score_scale = 1.0
        if self.fixed_scale is None:
            rate, current = response(self.score_neuron, context.steps)
            expected = self.query.conv.out_channels / self.heads * rate**2
            self.score_scale = current / expected
            self.scale_per_key *= expected / -math.expm1(-expected)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        queries, k, v = (rearrange(z, "t b (h d) n -> t b h n d", h=self.heads) for z in (q, k, v))
        products = (queries * self.score_scale) @ k.transpose(-2, -1)
        scores = self.score_neuron(products + self._bias(queries.shape[3], k.shape[3]))
        if self.requires_attention:
            self.attention_weights = scores * self.scale(k.shape[3])
        return laid_out_as(q, rearrange(scores @ v * self.scale(k.shape[3]), "t b h n d -> t b h d n"))

    def _bias(self, n: int, m: int) -> Tensor:
        """``[heads, N, M]``."""
        rows, columns = (_positions(count, self.bias.device) for count in (n, m))
        offsets = (rows.unsqueeze(1) - columns.unsqueeze(0)).clamp(-self.reach, self.reach) + self.reach
        return self.bias[:, offsets[..., 0], offsets[..., 1]]


def _positions(count: int, device: torch.device) -> Tensor:
    """Row and column of each token, ``[N, 2]``, in a square of ceil(sqrt(N)) columns."""
    columns = math.isqrt(count - 1) + 1
    index = torch.arange(count, device=device)
    return torch.stack([index // columns, index % columns], dim=1)


class QueryKeyAttention(nn.Module):
    """LIF(BN(Conv(m k))) with q = LIF(BN(Conv(x))), k = LIF(BN(Conv(y))): a mask of queries on keys, no values.

    ``x, y [T, B, D, N] -> [T, B, D, N]``. Over tokens m = LIF(sum of a head's channels of q), ``[T, B, h, N]`` for
    h heads; over channels m = LIF(sum over tokens of q), ``[T, B, D]``. Cost linear in N. The weights that a tool
    may ask for are m over tokens, with one query. Source: QKFormer, arXiv 2403.16552.
    """

    requires_attention = False
    attends_over: Literal["tokens", "steps"] = "tokens"
    attention_weights: Tensor | None = None

    def __init__(self, context: Context, over: Literal["tokens", "channels"]) -> None:
        super().__init__()
        dims, self.heads, self.over = context.embed_dims, context.num_heads, over
        if dims % self.heads:
            raise UserError(f"model.num_heads = {self.heads} does not divide the {dims} channels of a stage")
        self.query = SpikingConv(dims, dims, context.neuron)
        self.key = SpikingConv(dims, dims, context.neuron)
        self.mask_neuron = context.neuron()
        self.projection = SpikingConv(dims, dims, context.neuron)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q, k = self.query(x), self.key(y)
        if self.over == "channels":
            masked = self.mask_neuron(q.sum(3, keepdim=True)) * k
        else:
            mask = self.mask_neuron(rearrange(q, "t b (h d) n -> t b h d n", h=self.heads).sum(3, keepdim=True))
            if self.requires_attention:
                self.attention_weights = mask
            masked = rearrange(
                mask * rearrange(k, "t b (h d) n -> t b h d n", h=self.heads), "t b h d n -> t b (h d) n"
            )
        return self.projection(masked)

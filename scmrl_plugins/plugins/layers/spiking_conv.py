"""Convolution, batch norm and neuron: the layer that backbones and fusion blocks repeat."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scmrl_plugins.core.interfaces import CountsRepeats, Neuron, NeuronFactory
from scmrl_plugins.core.system.private import has_forward_hooks
from scmrl_plugins.plugins.kernels import lookup
from scmrl_plugins.plugins.layers.recompute import in_chunks
from scmrl_plugins.registry import UserError


class SpikingConv(nn.Module):
    """LIF(BN(Conv(x))), where LIF is the configured neuron.

    2-d: ``[T, B, C, H, W] -> [T, B, D, H, W]``, kernel 3, padding 1, or with ``stride`` s kernel 1 and
    ``[T, B, D, H / s, W / s]``. 1-d: ``[T, B, C, N] -> [T, B, D, N]``, kernel 1. Batch statistics run over T and B
    together. A static input, which is a view with a stride of 0 over T, is convolved and normalised once.
    ``pool`` is applied to each step of the spikes.
    """

    def __init__(
        self, channels: int, out: int, neuron: NeuronFactory, *, dims: int = 1, bias: bool = False, stride: int = 0
    ) -> None:
        super().__init__()
        if stride:
            self.conv: nn.Conv2d | nn.Conv1d = Subsampled(channels, out, kernel_size=1, bias=bias)
            self.conv.every = stride
            self.bn: nn.BatchNorm2d | nn.BatchNorm1d | Folded = nn.BatchNorm2d(out)
        elif dims == 2:
            self.conv = Conv3x3(channels, out, bias)
            self.bn = nn.BatchNorm2d(out)
        else:
            self.conv = Pointwise(channels, out, kernel_size=1, bias=bias)
            self.bn = nn.BatchNorm1d(out)
        self.neuron = neuron()

    def forward(self, x: Tensor, pool: nn.Module | None = None) -> Tensor:
        steps, batch = x.shape[:2]
        static = steps > 1 and x.stride(0) == 0
        y = self.conv(x[0] if static else x.flatten(0, 1))
        observed = _is_recorded(self.neuron) or torch.compiler.is_compiling()
        if not observed:
            spikes = self.neuron.normalized(y.unflatten(0, (-1, batch)), self.bn, pool, steps)
            if spikes is not None:
                return spikes
        z = norm(self.bn, y, steps if static else 1).unflatten(0, (-1, batch))

        def fire(z: Tensor) -> Tensor:
            spikes = self.neuron(Repeat.apply(z.squeeze(0), steps) if static else z)
            return spikes if pool is None else pool(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])

        if pool is None or observed:
            return fire(z)
        if (maps := self.neuron.pooled(z, pool, steps)) is not None:
            return maps
        return in_chunks(fire, z, steps * y[0].numel()) if z.device.type == "cpu" else fire(z)

    def fold(self) -> bool:
        """W' = W g / s, b' = (b - m) g / s + h: batch norm (x - m) g / s + h becomes part of the convolution.

        m and s are the running mean and standard deviation. Without them, or when already folded, nothing
        changes. Called in evaluation mode; returns whether it folded.
        """
        if isinstance(self.bn, Folded) or self.bn.running_mean is None:
            return False
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), Folded().eval()
        return True


class Conv3x3(nn.Conv2d):
    """W * x + b with zero padding: ``[B, C, H, W] -> [B, D, H, W]``. For spikes the sums are looked up."""

    def __init__(self, channels: int, out: int, bias: bool = False) -> None:
        super().__init__(channels, out, kernel_size=3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y = lookup.convolve(x, self.weight, self.bias)
        return super().forward(x) if y is None else y


class Subsampled(nn.Conv2d):
    """A 1x1 convolution of every n-th pixel, n = ``every``: ``[B, C, H, W] -> [B, D, H / n, W / n]``.

    The same as a stride of n, for which oneDNN's backward pass (torch 2.14, AVX2, channels last) writes out of
    bounds.
    """

    every = 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., :: self.every, :: self.every])


class Pointwise(nn.Conv1d):
    """W x + b: ``[B, C, N] -> [B, D, N]``.

    Tokens in channels-last order, which Conv1d would copy, are multiplied in place; for spikes the sums of weights
    are looked up.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not token_by_token(x):
            return super().forward(x)
        y = lookup.convolve(x.unsqueeze(2), self.weight.unsqueeze(3), self.bias)
        return functional.linear(x.mT, self.weight.squeeze(2), self.bias).mT if y is None else y.squeeze(2)


def token_by_token(x: Tensor) -> bool:
    """Whether the channels of a token are adjacent in memory: ``x [*, C, N]``."""
    return x.mT.is_contiguous() and not x.is_contiguous()


class Folded(nn.Identity):
    """Replaces a batch norm that is folded into its convolution: x -> x, for evaluation only."""

    def train(self, mode: bool = True) -> Folded:
        if mode:
            raise UserError("batch norm is folded into the convolutions: train the run as it was saved")
        return super().train(mode)


class Repeat(torch.autograd.Function):
    """``x [B, *], T -> [T, B, *]``, as a view; the gradient, a sum over steps, keeps the layout of x."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, steps: int) -> Tensor:
        return x.expand(steps, *x.shape)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # Tensor.sum would make it contiguous, and batch norm ten times slower.
        return functools.reduce(torch.add, grads[0]), None


def norm(bn: nn.BatchNorm1d | nn.BatchNorm2d | Folded, y: Tensor, steps: int) -> Tensor:
    """Batch norm of y as one of ``steps`` copies of the batch: ``[B, C, *] -> [B, C, *]``.

    Copies change neither mean nor variance. Only the running variance, which is unbiased, depends on the number n
    of values a channel: its factor n / (n - 1) becomes steps n / (steps n - 1).
    """
    if y.dim() == 3 and token_by_token(y):
        # As [B, C, N] it would take torch ten times as long.
        return norm(bn, y.mT.flatten(0, 1), steps).unflatten(0, (y.shape[0], -1)).mT
    if steps == 1 or isinstance(bn, Folded) or not (bn.training and bn.track_running_stats):
        return bn(y)
    if isinstance(bn, CountsRepeats):
        return bn(y, steps)
    assert bn.running_var is not None
    assert bn.num_batches_tracked is not None
    updated, n = bn.running_var.clone(), y.numel() // y.shape[1]
    out = functional_call(bn, {"running_var": updated}, (y,))
    momentum = 1 / int(bn.num_batches_tracked) if bn.momentum is None else bn.momentum
    ratio = steps * (n - 1) / (steps * n - 1)
    with torch.no_grad():
        bn.running_var.mul_((1 - momentum) * (1 - ratio)).add_(updated, alpha=ratio)
    return out


def _is_recorded(neuron: Neuron) -> bool:
    """Whether a hook, or a tool of BrainCog's, needs the neuron's output for the full batch."""
    return has_forward_hooks(neuron) or neuron.requires_fp or neuron.requires_mem

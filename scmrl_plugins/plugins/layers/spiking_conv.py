"""The layers that the spiking Transformer and the fusion blocks repeat."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from scmrl_plugins.core.interfaces import NeuronFactory
from scmrl_plugins.plugins.kernels import lookup
from scmrl_plugins.registry import UserError

# Values that are worked on at once, of 4 bytes: what fits the last cache of a processor.
PIECE = 1 << 21


class SpikingConv(nn.Module):
    """LIF(BN(Conv(x))), where LIF is the configured neuron.

    2-d: ``[T, B, C, H, W] -> [T, B, D, H, W]``, kernel 3, padding 1, or with ``stride`` s kernel 1 and
    ``[T, B, D, H / s, W / s]``. 1-d: ``[T, B, C, N] -> [T, B, D, N]``, kernel 1. Batch statistics run over T and B
    together. A step repeated, which is a view with a stride of 0 over T, is convolved and normalised once.
    ``pool`` is applied to each step of the spikes.
    """

    def __init__(
        self, channels: int, out: int, neuron: NeuronFactory, *, dims: int = 1, bias: bool = False, stride: int = 0
    ) -> None:
        super().__init__()
        if stride:
            self.conv: nn.Conv2d | nn.Conv1d = Thinned(channels, out, kernel_size=1, bias=bias)
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
        z = norm(self.bn, y, steps if static else 1).unflatten(0, (-1, batch))

        def fire(z: Tensor) -> Tensor:
            spikes = self.neuron(Repeat.apply(z.squeeze(0), steps) if static else z)
            return spikes if pool is None else pool(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])

        if pool is None or _watched(self.neuron) or torch.compiler.is_compiling():
            return fire(z)
        neuron: Any = self.neuron
        if hasattr(neuron, "pooled") and (maps := neuron.pooled(z.expand(steps, *z.shape[1:]), pool)) is not None:
            return maps
        return by_samples(fire, z, steps * y[0].numel()) if z.device.type == "cpu" else fire(z)

    def fold(self) -> bool:
        """W' = W g / s, b' = (b - m) g / s + h: batch norm (x - m) g / s + h becomes part of the convolution.

        m and s are the running mean and deviation; without them, or once folded, it stays as it is. Called in
        evaluation mode, returns whether it folded.
        """
        if isinstance(self.bn, Folded) or self.bn.running_mean is None:
            return False
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), Folded().eval()
        return True


class Conv3x3(nn.Conv2d):
    """W * x + b, zeros beyond the edge: ``[B, C, H, W] -> [B, D, H, W]``. Of spikes the sums are looked up."""

    def __init__(self, channels: int, out: int, bias: bool = False) -> None:
        super().__init__(channels, out, kernel_size=3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y = lookup.convolve(x, self.weight, self.bias)
        return super().forward(x) if y is None else y


class Thinned(nn.Conv2d):
    """W x + b at every so many-th pixel, of a kernel of 1: ``[B, C, H, W] -> [B, D, H / every, W / every]``.

    As a stride of its own the backward pass of oneDNN (torch 2.14, AVX2, channels last) writes beyond its memory.
    """

    every = 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., :: self.every, :: self.every])


class Pointwise(nn.Conv1d):
    """W x + b: ``[B, C, N] -> [B, D, N]``.

    Tokens that Conv1d would copy go through one product as they lie; of spikes the sums of weights are looked up.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not token_by_token(x):
            return super().forward(x)
        y = lookup.convolve(x.unsqueeze(2), self.weight.unsqueeze(3), self.bias)
        return functional.linear(x.mT, self.weight.squeeze(2), self.bias).mT if y is None else y.squeeze(2)


def token_by_token(x: Tensor) -> bool:
    """Whether the channels of a token are side by side in memory: ``x [*, C, N]``."""
    return x.mT.is_contiguous() and not x.is_contiguous()


class Folded(nn.Identity):
    """In the place of a batch norm that is folded into its convolution: x -> x, never in training."""

    def train(self, mode: bool = True) -> Folded:
        if mode:
            raise UserError("batch norm is folded into the convolutions: train the run as it was saved")
        return super().train(mode)


class Repeat(torch.autograd.Function):
    """``x [B, *], T -> [T, B, *]``, a view; the sum over steps of the gradient keeps its layout in memory."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, steps: int) -> Tensor:
        return x.expand(steps, *x.shape)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        # Tensor.sum would make it contiguous, and batch norm ten times slower.
        return functools.reduce(torch.add, grads[0]), None


def norm(bn: nn.BatchNorm1d | nn.BatchNorm2d | Folded, y: Tensor, steps: int) -> Tensor:
    """Batch norm over y repeated ``steps`` times, for one of them: ``[B, C, *] -> [B, C, *]``.

    A repeated batch has the mean and variance of one. Only the running variance, which is unbiased, knows how many
    values there were: its factor is n / (n - 1), for n values a channel, and here steps n / (steps n - 1).
    """
    if y.dim() == 3 and token_by_token(y):
        # As [B, C, N] it would take torch ten times as long.
        return norm(bn, y.mT.flatten(0, 1), steps).unflatten(0, (len(y), -1)).mT
    if steps == 1 or isinstance(bn, Folded) or not (bn.training and bn.track_running_stats):
        return bn(y)
    if getattr(bn, "counts_repeats", False):
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


def _watched(neuron: nn.Module) -> bool:
    """Whether a hook, or a tool of BrainCog's, is to see the neuron's output whole."""
    return bool(
        neuron._forward_hooks or getattr(neuron, "requires_fp", False) or getattr(neuron, "requires_mem", False)
    )


def by_samples(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """``function(x)`` for an x of ``[T, B, *]``, a few samples at a time where ``size`` values a sample are many.

    What is in between then stays in the processor's cache, and is computed again for the backward pass instead of
    kept for it.
    """
    samples = max(1, PIECE // size)
    if samples >= x.shape[1]:
        return function(x)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return Join.apply(*(function(piece) for piece in x.split(samples, dim=1)))
    return Join.apply(*(checkpoint(function, piece, use_reentrant=False) for piece in Split.apply(x, samples)))


def through(module: nn.Module, *inputs: Any, recompute: bool) -> Tensor:
    """``module(*inputs)``; with ``recompute`` only these are kept for the backward pass, which computes it again.

    Gradients and batch norm's running statistics are the same.
    """
    if not (recompute and torch.is_grad_enabled()):
        return module(*inputs)

    def contexts() -> tuple[Any, Any]:
        return contextlib.nullcontext(), _copied_statistics(module)

    return checkpoint(module, *inputs, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _copied_statistics(module: nn.Module) -> Iterator[None]:
    """Batch norm has copies of its running statistics to update meanwhile."""
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: None if x is None else x.clone() for name, x in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)


# Torch's own split and cat leave what they make contiguous, not in the layout of what they are given.


class Split(torch.autograd.Function):
    """``x [T, B, C, H, W]`` in pieces of so many samples, views of it."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor, samples: int) -> tuple[Tensor, ...]:
        return x.split(samples, dim=1)

    @staticmethod
    def backward(_ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _joined(grads), None


class Join(torch.autograd.Function):
    """Pieces ``[T, b, C, H, W]`` as one ``[T, B, C, H, W]``."""

    @staticmethod
    def forward(ctx: Any, *pieces: Tensor) -> Tensor:
        ctx.samples = [piece.shape[1] for piece in pieces]
        return _joined(pieces)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        return tuple(_joined([grad]) for grad in grads[0].split(ctx.samples, dim=1))


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    """The pieces side by side, one image after the other in memory, each laid out as it was."""
    first = pieces[0]
    samples = [piece.shape[1] for piece in pieces]
    last = first[0].is_contiguous(memory_format=torch.channels_last)
    whole = torch.empty(
        (len(first) * sum(samples), *first.shape[2:]),
        dtype=first.dtype,
        device=first.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    ).unflatten(0, (len(first), -1))
    for place, piece in zip(whole.split(samples, dim=1), pieces, strict=True):
        place.copy_(piece)
    return whole


def linear(width: int, out: int) -> nn.Linear:
    """W x + b, W drawn from a normal distribution of standard deviation 0.02 cut off at 2, b = 0."""
    layer = nn.Linear(width, out)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer

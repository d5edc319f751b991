"""Batch norm over the batches of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scmrl_plugins.core.parallel.processes import SINGLE_PROCESS, Processes
from scmrl_plugins.core.system.private import BatchNorm


class SynchronousBatchNorm(BatchNorm):
    """(x - m) / sqrt(v + eps) w + b; in training m and v are mean and variance over the samples of all processes.

    ``x [B, C, *] -> [B, C, *]``, on every device: torch's own runs on GPUs only. Running statistics are those of
    ``nn.BatchNorm2d``. ``repeats``: how often the batch is repeated, which the unbiased running variance counts.
    """

    processes = SINGLE_PROCESS
    counts_repeats = True
    """Marks that ``forward`` takes ``repeats``: see ``CountsRepeats``."""

    def _check_input_dim(self, x: Tensor) -> None:
        """Accept any number of dimensions."""

    def forward(self, x: Tensor, repeats: int = 1) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, var, n = _Normalize.apply(x, self.weight, self.bias, self.eps, self.processes)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            values = repeats * int(n)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                unbiased = var * (values / max(1, values - 1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        return y


class _Normalize(torch.autograd.Function):
    """Normalized x, and the mean, biased variance and number of values that it was normalized with."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, processes: Processes
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [0, *range(2, x.dim())]
        values = x if x.dtype == torch.float64 else x.float()
        # In double precision, so that subtracting m^2 is exact enough.
        var, mean = (stat.double() for stat in torch.var_mean(values, dims, correction=0))
        n = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float64, device=x.device)
        sums = processes.sum(torch.cat([n, n * mean, n * (var + mean.square())]))
        n = sums[:1]
        mean, square = (sums[1:] / n).chunk(2)
        var = square - mean.square()
        kind = values.dtype
        y = F.batch_norm(values, mean.to(kind), var.to(kind), weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt(), n)
        ctx.processes, ctx.dims, ctx.bias_kind = processes, dims, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var, n)
        return y.to(x.dtype), mean, var, n

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        x, weight, mean, rate, n = ctx.saved_tensors
        kind = torch.float64 if x.dtype == torch.float64 else torch.float32
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean, rate = (stat.to(kind).view(shape) for stat in (mean, rate))
        g = grads[0].to(kind)
        hat = (x.to(kind) - mean) * rate
        along_bias, along_weight = g.sum(ctx.dims), (g * hat).sum(ctx.dims)
        sums = ctx.processes.sum(torch.cat([along_bias, along_weight]))
        of_mean, of_rate = ((s / n.to(kind)).view(shape) for s in sums.chunk(2))
        scale = rate if weight is None else rate * weight.to(kind).view(shape)
        of_x = scale * (g - of_mean - hat * of_rate)
        return (
            of_x.to(x.dtype),
            None if weight is None else along_weight.to(weight.dtype),
            None if ctx.bias_kind is None else along_bias.to(ctx.bias_kind),
            None,
            None,
        )


def synchronize(model: nn.Module, processes: Processes) -> None:
    """Replace every batch norm of a model by one over all processes; weights and names do not change."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, BatchNorm):
                setattr(module, name, _of(child, processes))


def _of(norm: BatchNorm, processes: Processes) -> SynchronousBatchNorm:
    synchronous = SynchronousBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
    )
    for name, tensor in (*norm.named_parameters(recurse=False), *norm.named_buffers(recurse=False)):
        setattr(synchronous, name, tensor)
    synchronous.processes = processes
    synchronous.train(norm.training)
    return synchronous

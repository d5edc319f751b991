"""The processes that train one model together, and their collective operations."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import ModelOutput
from scmrl_plugins.core.parallel import launch
from scmrl_plugins.core.system.private import BatchNorm, reset_accelerator
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")
S = TypeVar("S", Sequence[Any], Tensor)

_TIMEOUT = datetime.timedelta(days=7)
"""Of a collective operation: another process may compute features for hours. A dead one is noticed at once."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process and the number of processes. In a single process every method returns its argument."""

    rank: int = 0
    count: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def shares(self, n: int) -> list[int]:
        """How many of n samples each process takes; they differ by at most one."""
        return [n // self.count + (rank < n % self.count) for rank in range(self.count)]

    def share(self, items: S) -> S:
        """The samples of a batch that this process takes: a slice of a sequence or of a tensor's first axis."""
        counts = self.shares(len(items))
        start = sum(counts[: self.rank])
        return items[start : start + counts[self.rank]]

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            dist.barrier(device_ids=[self.device.index or 0] if self.device.type == "cuda" else None)

    def sum(self, x: Tensor) -> Tensor:
        """The sum of a tensor over all processes, on the tensor's device."""
        if self.count == 1:
            return x
        total = x.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(x.device)

    def any(self, flag: bool) -> bool:
        """Whether a flag is set in any process."""
        return bool(self.sum(torch.tensor(int(flag))))

    def broadcast(self, value: T) -> T:
        """The main process's value, in all processes."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, x: Tensor, n: int, dim: int = 0) -> Tensor:
        """A batch of n samples along ``dim`` from the shares ``x`` of all processes; gradients flow back."""
        return x if self.count == 1 else _AllGather.apply(x, dim, self.shares(n), self.rank)

    def gather_output(self, output: ModelOutput, n: int) -> ModelOutput:
        """The output for the full batch of n samples, for losses that compare samples."""
        if self.count == 1:
            return output

        def gather_all(tensors: dict[str, Tensor], dim: int = 0) -> dict[str, Tensor]:
            return {name: self.gather(x, n, dim) for name, x in tensors.items()}

        rates, steps = output.firing_rates, output.step_logits
        if rates is not None:
            parts = torch.tensor(self.shares(n), dtype=rates.dtype, device=rates.device) / n
            rates = parts @ self.gather(rates.unsqueeze(0), self.count)
        return ModelOutput(
            logits=self.gather(output.logits, n),
            aux_logits=gather_all(output.aux_logits),
            aligned=None if output.aligned is None else gather_all(output.aligned, dim=1),
            step_logits=None if steps is None else self.gather(steps, n, dim=1),
            shares=gather_all(output.shares),
            firing_rates=rates,
        )

    def average_statistics(self, model: nn.Module) -> None:
        """Set the running statistics of batch norm to their mean over all processes."""
        if self.count == 1:
            return
        norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        statistics = [x for norm in norms for x in (norm.running_mean, norm.running_var) if x is not None]
        if not statistics:
            return
        with torch.no_grad():
            means = self.sum(torch.cat(statistics)) / self.count
            for x, mean in zip(statistics, means.split([len(x) for x in statistics]), strict=True):
                x.copy_(mean)


def peer_failed(error: BaseException) -> bool:
    """Whether an error means that another process of this training ended; gloo only tells by the message."""
    if launch.count() == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "Connection closed" in str(error)


SINGLE_PROCESS = Processes()


class _AllGather(torch.autograd.Function):
    """The shares of all processes, concatenated along ``dim``.

    Every process computes the same loss of the result, so each has the gradient of its share without further
    communication; it is multiplied by the number of processes, over which gradients of weights are averaged.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, counts: Sequence[int], rank: int) -> Tensor:
        ctx.dim, ctx.counts, ctx.rank = dim, counts, rank
        share = x.movedim(dim, 0)
        padded = share.new_zeros(max(counts), *share.shape[1:])
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        gathered = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        return gathered.movedim(0, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        start, count = sum(ctx.counts[: ctx.rank]), ctx.counts[ctx.rank]
        return grads[0].narrow(ctx.dim, start, count) * len(ctx.counts), None, None, None


def accelerator(device: torch.device, precision: str) -> tuple[Accelerator, Processes]:
    """An ``Accelerator`` for a device and a precision, and the processes that ``torchrun`` or ``Team`` started.

    Raises ``UserError`` for a precision or a number of processes that the device does not support.
    """
    from accelerate import Accelerator, PartialState
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    local, count = int(os.environ.get("LOCAL_RANK", 0)), launch.count()
    if count > 1 and device.type == "cuda" and local >= torch.cuda.device_count():
        raise UserError(
            f"process {local} of this machine has no GPU (there are {torch.cuda.device_count()}): start "
            f"fewer processes, or use --device cpu"
        )
    if count > 1 and device.type not in ("cpu", "cuda"):
        raise UserError(f"{count} processes do not train on {device.type}: start one, or use --device cpu")
    if not PartialState().use_distributed:
        # Accelerate keeps one state per process, and accepts no other precision or device after the first.
        reset_accelerator()
    try:
        accelerator = Accelerator(
            cpu=device.type == "cpu",
            device_placement=False,  # the learner does that; to look for sharded tensors takes accelerate seconds
            mixed_precision={"fp32": "no"}.get(precision, precision),
            kwargs_handlers=[
                # Some fusions drop a stream, and with it the gradients of its weights.
                DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
                InitProcessGroupKwargs(timeout=_TIMEOUT),
            ],
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(f"train.precision = {precision!r} does not work on {device}: {error}") from None
    return accelerator, Processes(accelerator.process_index, accelerator.num_processes, accelerator.device)

"""The processes that train one model together, and what they tell each other."""

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

_PATIENCE = datetime.timedelta(days=7)
"""How long a process waits for others: one may compute features for hours. One that died is noticed at once."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which of how many processes this is. Alone, every method gives back what it is given."""

    rank: int = 0
    count: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and speaks for all."""
        return self.rank == 0

    def shares(self, n: int) -> list[int]:
        """How many of n samples each process takes: they differ by one at most."""
        return [n // self.count + (rank < n % self.count) for rank in range(self.count)]

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of the samples of a batch, which lie one behind the other."""
        counts = self.shares(len(items))
        start = sum(counts[: self.rank])
        return items[start : start + counts[self.rank]]

    def wait(self) -> None:
        """Go on when all are here."""
        if self.count > 1:
            dist.barrier(device_ids=[self.device.index or 0] if self.device.type == "cuda" else None)

    def total(self, x: Tensor) -> Tensor:
        """The sum of a tensor of all processes, on the device it came from."""
        if self.count == 1:
            return x
        summed = x.to(self.device, copy=True)
        dist.all_reduce(summed)
        return summed.to(x.device)

    def any(self, flag: bool) -> bool:
        """Whether it is true in one of them."""
        return bool(self.total(torch.tensor(int(flag))))

    def told(self, value: T) -> T:
        """What the main process gives, in all of them."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def whole(self, x: Tensor, n: int, dim: int = 0) -> Tensor:
        """A batch of n samples along ``dim``, of which ``x`` is this process's share; gradients flow back."""
        return x if self.count == 1 else _Whole.apply(x, dim, self.shares(n), self.rank)

    def whole_output(self, output: ModelOutput, n: int) -> ModelOutput:
        """The output for a whole batch of n samples, as the losses, which may compare samples, are to see it."""
        if self.count == 1:
            return output

        def all_of(tensors: dict[str, Tensor], dim: int = 0) -> dict[str, Tensor]:
            return {name: self.whole(x, n, dim) for name, x in tensors.items()}

        rates, steps = output.firing_rates, output.step_logits
        if rates is not None:
            parts = torch.tensor(self.shares(n), dtype=rates.dtype, device=rates.device) / n
            rates = parts @ self.whole(rates.unsqueeze(0), self.count)
        return ModelOutput(
            logits=self.whole(output.logits, n),
            aux_logits=all_of(output.aux_logits),
            aligned=None if output.aligned is None else all_of(output.aligned, dim=1),
            step_logits=None if steps is None else self.whole(steps, n, dim=1),
            shares=all_of(output.shares),
            firing_rates=rates,
        )

    def average_statistics(self, model: nn.Module) -> None:
        """Give batch norm's running statistics in every process the mean over all of them."""
        if self.count == 1:
            return
        norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        kept = [x for norm in norms for x in (norm.running_mean, norm.running_var) if x is not None]
        if not kept:
            return
        with torch.no_grad():
            means = self.total(torch.cat(kept)) / self.count
            for x, mean in zip(kept, means.split([len(x) for x in kept]), strict=True):
                x.copy_(mean)


def lost(error: BaseException) -> bool:
    """Whether an error says that another process of this training has ended; gloo says so in words alone."""
    if launch.count() == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "Connection closed" in str(error)


ALONE = Processes()
"""This one, and no other."""


class _Whole(torch.autograd.Function):
    """The shares of all processes side by side. Each process computes the same of the whole, so each has the
    gradient of its own share itself: times their number, as gradients of weights are averaged over them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, counts: Sequence[int], rank: int) -> Tensor:
        ctx.dim, ctx.counts, ctx.rank = dim, counts, rank
        own = x.movedim(dim, 0)
        padded = own.new_zeros(max(counts), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        whole = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        return whole.movedim(0, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        start, count = sum(ctx.counts[: ctx.rank]), ctx.counts[ctx.rank]
        return grads[0].narrow(ctx.dim, start, count) * len(ctx.counts), None, None, None


def accelerator(device: torch.device, precision: str) -> tuple[Accelerator, Processes]:
    """Accelerate for a device and a precision, and the processes that ``torchrun`` or we started, this one alone
    where nobody did.

    Raises ``UserError`` for a precision or a number of processes that does not work there.
    """
    from accelerate import Accelerator, PartialState
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    local, count = int(os.environ.get("LOCAL_RANK", 0)), launch.count()
    if count > 1 and device.type == "cuda" and local >= torch.cuda.device_count():
        raise UserError(
            f"process {local} of this machine has no GPU of its own ({torch.cuda.device_count()} are here): start "
            f"fewer processes, or use --device cpu"
        )
    if count > 1 and device.type not in ("cpu", "cuda"):
        raise UserError(f"{count} processes do not train on {device.type}: start one, or use --device cpu")
    if not PartialState().use_distributed:
        # Accelerate keeps one state a process and refuses another precision or device than the first's.
        reset_accelerator()
    try:
        made = Accelerator(
            cpu=device.type == "cpu",
            mixed_precision={"fp32": "no"}.get(precision, precision),
            kwargs_handlers=[
                # Some fusions drop a stream, and with it the gradients of its weights.
                DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
                InitProcessGroupKwargs(timeout=_PATIENCE),
            ],
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(f"train.precision = {precision!r} does not work on {device}: {error}") from None
    return made, Processes(made.process_index, made.num_processes, made.device)

"""The convolutions and matrix products of a step, recorded, and run again on their own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.system.private import TorchDispatchMode, tree_map, tree_map_only

_aten = torch.ops.aten
PRODUCTS = {
    _aten.convolution,
    _aten.convolution_backward,
    _aten.mm,
    _aten.addmm,
    _aten.bmm,
    _aten.baddbmm,
}
"""The operations that a network of these layers cannot do without."""


@dataclass(frozen=True)
class Layout:
    """The shape, strides and type of a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, x: Tensor) -> Layout:
        return cls(tuple(x.shape), tuple(x.stride()), x.dtype)

    def random(self, device: torch.device) -> Tensor:
        """A tensor of this layout with standard normal values."""
        last = sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        return torch.randn(last + 1, dtype=self.dtype, device=device).as_strided(self.shape, self.stride)


class Products(TorchDispatchMode):
    """Records every convolution and matrix product of the ``with`` block.

    ``calls`` has the function, its arguments, with layouts for tensors, and how often it was called so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, tuple[Callable[..., Any], Any, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in PRODUCTS:
            arguments = tree_map_only(Tensor, Layout.of, (args, kwargs or {}))
            _, _, count = self.calls.get(key := f"{func}{arguments}", (None, None, 0))
            self.calls[key] = (func, arguments, count + 1)
        return func(*args, **(kwargs or {}))

    def replays(self, device: torch.device) -> Iterator[tuple[Callable[[], Any], int]]:
        """Each recorded call, on random tensors of the same layouts, and how often it was made."""

        def filled(x: Any) -> Any:
            return x.random(device) if isinstance(x, Layout) else x

        for function, arguments, count in self.calls.values():
            args, kwargs = tree_map(filled, arguments)
            yield functools.partial(function, *args, **kwargs), count

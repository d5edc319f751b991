"""Where the time of a step goes: operators, and on a GPU its kernels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import DeviceType

TENSOR_CORES = re.compile(r"tensor(op|\d)|16816|1688|884|[hg]mma|nvjet")
"""In a kernel name of NVIDIA's libraries: the size or the name of a tensor core instruction."""


def profile(step: Callable[[], Any], rows: int, *, cuda: bool) -> dict[str, Any]:
    """The ``rows`` operators with the largest self time in a step, and with ``cuda`` the GPU's kernels.

    ``step`` returns when its work is done, on a GPU too.
    """
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * cuda
    with torch.profiler.profile(activities=kinds) as profiler:
        step()
    events = profiler.events()
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        if event.device_type != DeviceType.CPU:
            continue  # a GPU kernel: its time also counts for the operator that launched it
        name = _operator(event)
        spent[name] += event.self_device_time_total if cuda else event.self_cpu_time_total
        calls[name] += name == event.name
    total = spent.total() or 1.0
    operators = [
        {"operator": name, "calls": calls[name], "ms": time / 1e3, "share": time / total}
        for name, time in spent.most_common(rows)
    ]
    return {"operators": operators, "kernels": kernels(events) if cuda else None}


def kernels(events: Iterable[Any]) -> dict[str, Any]:
    """The number of GPU kernels among profiler events, their time, and the share of it on tensor cores."""
    ran = [e for e in events if e.device_type == DeviceType.CUDA and not e.name.startswith(("Memcpy", "Memset"))]
    spent = sum(event.self_device_time_total for event in ran)
    on_tensor_cores = sum(event.self_device_time_total for event in ran if TENSOR_CORES.search(event.name))
    return {"count": len(ran), "ms": spent / 1e3, "tensor_cores": on_tensor_cores / spent if spent else 0.0}


def _operator(event: Any) -> str:
    """An operator's name; for a compiled kernel, which is named by a hash, the name of what it computes."""
    name: str = event.name
    outer = event.cpu_parent
    while name.startswith("## Call CompiledFxGraph") and outer is not None:
        if outer.name.startswith("scmrl::"):
            return outer.name
        outer = outer.cpu_parent
    return name

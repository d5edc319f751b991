"""Convolutions of spikes by table lookup and by torch, forward and for the gradient of the weights, alternately.

    python benchmarks/lookup.py [--rate 0.2] [--repeats 9] [--threads 2] [--json]

The sizes are those of ``scmrl bench speed``: batch 8, T = 4, D = 256. The forward lookup includes packing spikes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

# Images, channels, height, width, channels of the result, size of the kernel.
SIZES = {
    "32 to 64 channels, 64 x 64": (32, 32, 64, 64, 64, 3),
    "64 to 128, 32 x 32": (32, 64, 32, 32, 128, 3),
    "128 to 256, 16 x 16": (32, 128, 16, 16, 256, 3),
    "256 to 256, 8 x 8": (32, 256, 8, 8, 256, 3),
    "256 to 256, 2,048 tokens (1 x 1)": (32, 256, 1, 64, 256, 1),
    "1,024 to 256, 2,048 tokens (1 x 1)": (32, 1024, 1, 64, 256, 1),
}


def cases(size: tuple[int, ...], rate: float) -> dict[str, Callable[[], Any]]:
    """The functions to time, by name."""
    import torch
    from torch.nn import functional

    from scmrl_plugins.plugins.kernels import lookup

    images, channels, height, width, out, kernel = size
    generator = torch.Generator().manual_seed(0)
    last = (torch.rand(images, height, width, channels, generator=generator) < rate).float()
    x = last.permute(0, 3, 1, 2)
    weight = torch.randn(out, kernel, kernel, channels, generator=generator).permute(0, 3, 1, 2).requires_grad_()
    grad = torch.randn(images, height, width, out, generator=generator).permute(0, 3, 1, 2)

    def by_torch() -> torch.Tensor:
        if kernel == 1:  # as in the model without lookups
            return functional.linear(last, weight.flatten(1)).permute(0, 3, 1, 2)
        return functional.conv2d(x, weight, padding=kernel // 2)

    def by_lookup() -> torch.Tensor:
        y = lookup.convolve(x, weight, None)
        if y is None:
            raise SystemExit("error: lookups are not available: no compiler, or SCMRL_COMPILE is never")
        return y

    def forward(function: Callable[[], Any]) -> Callable[[], Any]:
        return torch.no_grad()(function)

    def backward(y: torch.Tensor) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(y, weight, grad, retain_graph=True)

    return {
        "forward": forward(by_torch),
        "forward, lookup": forward(by_lookup),
        "weights": backward(by_torch()),
        "weights, lookup": backward(by_lookup()),
    }


def measure(rate: float, repeats: int) -> dict[str, dict[str, float]]:
    """The minimum seconds of each case, by size."""
    results = {}
    for title, size in SIZES.items():
        timed = cases(size, rate)
        seconds: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(repeats + 1):
            for name, run in timed.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        results[title] = {name: min(times[1:]) for name, times in seconds.items()}  # the first warms up
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.2, help="share of spikes")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args()
    if not 0 <= options.rate <= 1 or options.repeats < 1 or options.threads < 1:
        parser.error("--rate is from 0 to 1, and --repeats and --threads are 1 or more")

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from scmrl_plugins.core.system.allocator import keep_large_blocks

    keep_large_blocks()
    import torch

    torch.set_num_threads(options.threads)
    results = measure(options.rate, options.repeats)
    if options.json:
        print(
            json.dumps(
                {"sizes": results, **vars(options), "torch": torch.__version__, "platform": platform.platform()}
            )
        )
        return
    print(
        f"Minimum of {options.repeats} alternating rounds, {options.threads} threads, rate {options.rate}, ms:\n"
    )
    print("| input to output | forward | lookup | gradient of weights | lookup |\n|---|---:|---:|---:|---:|")
    for title, seconds in results.items():
        print(f"| {title} | " + " | ".join(f"{1e3 * value:.1f}" for value in seconds.values()) + " |")


if __name__ == "__main__":
    main()

"""The leaky integrate-and-fire neuron of four libraries, forward and backward on one tensor, alternately.

    python benchmarks/neurons.py [--shape 4,8,32,128,128] [--repeats 5] [--threads 2] [--device cpu] [--json]

All have tau 2, threshold 1, a reset to 0 and a sigmoid surrogate of slope 4, give the same spikes, and run all
time steps in one call. Gradients differ: in ours and BrainCog's they do not cross time steps, as published; in
SpikingJelly they flow through the membrane, in snnTorch also through the reset. A second row of ours lets them
flow through the membrane. ``pip install 'scmrl-plugins[benchmarks]'`` installs SpikingJelly and snnTorch; the
benchmark skips libraries that are missing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TAU, THRESHOLD, SLOPE = 2.0, 1.0, 4.0
INSTALL = "pip install 'scmrl-plugins[benchmarks]'"
OURS = "scmrl-plugins"


def ours() -> Callable[[Tensor], Tensor]:
    return _component("lif")


def ours_through_time() -> Callable[[Tensor], Tensor]:
    return _component("lif", detach_membrane=False)


def braincog() -> Callable[[Tensor], Tensor]:
    return _component("braincog:LIFNode")


def spikingjelly() -> Callable[[Tensor], Tensor]:
    from spikingjelly.activation_based import functional, neuron, surrogate

    node = neuron.LIFNode(
        tau=TAU,
        decay_input=True,
        v_threshold=THRESHOLD,
        v_reset=0.0,
        surrogate_function=surrogate.Sigmoid(alpha=SLOPE),
        detach_reset=True,
        step_mode="m",
    )

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(x)

    return run


def snntorch() -> Callable[[Tensor], Tensor]:
    import snntorch
    import torch
    from snntorch import surrogate

    node = snntorch.Leaky(
        beta=1 - 1 / TAU,
        threshold=THRESHOLD,
        spike_grad=surrogate.sigmoid(slope=SLOPE),
        reset_mechanism="zero",
        reset_delay=False,
    )

    def run(x: Tensor) -> Tensor:
        node.to(x.device)
        membrane = node.reset_mem()
        spikes = []
        for current in x / TAU:
            spike, membrane = node(current, membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    return run


NEURONS = {
    OURS: ours,
    "scmrl-plugins, through time": ours_through_time,
    "braincog": braincog,
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
}


def _component(name: str, **settings: Any) -> Any:
    from scmrl_plugins.registry import catalogue

    cls: Any = catalogue().get("neuron", name).load()
    return cls(cls.Config(tau=TAU, threshold=THRESHOLD, surrogate="sigmoid", alpha=SLOPE, **settings), None)


def measure(shape: list[int], repeats: int, device: str) -> dict[str, dict[str, Any]]:
    """Version, minimum and median seconds and share of spikes of each library, or why it is missing."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, *shape, generator=generator).mul_(2).to(device)
    x.requires_grad_()
    results: dict[str, dict[str, Any]] = {}
    neurons: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, make in NEURONS.items():
        try:
            neurons[name] = make()
        except ImportError as error:
            results[name] = {"missing": f"not measured, {error}: {INSTALL}"}
            continue
        spikes = neurons[name](x)  # warm-up, may compile
        torch.autograd.grad(spikes, x, grad)
        results[name] = {
            "version": importlib.metadata.version(name.partition(",")[0]),
            "rate": spikes.detach().mean().item(),
        }
        del spikes
    seconds: dict[str, list[float]] = {name: [] for name in neurons}
    for _ in range(repeats):
        for name, neuron in neurons.items():
            _wait(device)
            start = time.perf_counter()
            torch.autograd.grad(neuron(x), x, grad)
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        results[name] |= {
            "minimum": min(times),
            "median": statistics.median(times),
            "ratio": min(times) / min(seconds[OURS]),
        }
    return results


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.accelerator.synchronize()


def table(results: dict[str, dict[str, Any]]) -> str:
    """A Markdown table with the time relative to ours."""
    lines = ["| library | minimum | median | share of spikes | time / ours |", "|---|---:|---:|---:|---:|"]
    for name, result in results.items():
        if "missing" in result:
            lines.append(f"| {name} | {result['missing']} | | | |")
            continue
        lines.append(
            f"| {name} {result['version']} | {1e3 * result['minimum']:.1f} ms | {1e3 * result['median']:.1f} ms "
            f"| {result['rate']:.4f} | {result['ratio']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="4,8,32,128,128", help="of the input, time first")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args()
    try:
        shape = [int(size) for size in options.shape.split(",")]
    except ValueError:
        shape = []
    if len(shape) < 2 or min(shape) < 1 or options.repeats < 1 or options.threads < 1:
        parser.error("--shape takes two sizes or more such as 4,8,32, and --repeats and --threads 1 or more")

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no such device")
    results = measure(shape, options.repeats, options.device)
    if options.json:
        environment = {"torch": torch.__version__, "platform": platform.platform(), "device": options.device}
        settings = {"shape": shape, "repeats": options.repeats, "threads": options.threads}
        print(json.dumps({"neurons": results, **settings, **environment}, indent=2))
        return
    print(f"Forward and backward on {shape}, {options.repeats} alternating rounds, {options.threads} threads:\n")
    print(table(results))
    for name, result in results.items():
        if "missing" in result:
            print(f"{name}: {result['missing']}", file=sys.stderr)


if __name__ == "__main__":
    main()

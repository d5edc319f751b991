"""S-CMRL built from the parts of SpikingJelly, as published, and as ours: spikes compared, then time alternately.

    python benchmarks/spikingjelly_model.py [--small] [--threads 2] [--repeats 5] [--cpu-time] [-o DIR] [--json]

The network, the batch, the weights and the optimizer are those of ``scmrl bench speed``: ``cmrl``, 128 x 128,
T = 4, D = 256, batch 8; ``--small``: 32 x 32, D = 32, batch 2. SpikingJelly's ``LIFNode`` computes
v[t] = v[t-1] + (x[t] - v[t-1]) / tau with ``decay_input``, the same equation. It has no way to keep gradients
from crossing time steps, which the published model does; a second row of ours lets them cross too. SpikingJelly
repeats a static picture for every time step, as its own Spikformer does.

First the spikes of every neuron, the logits, and the gradients of all weights (ours across time steps) are
compared for a training step from equal weights, in single and in double precision. In single precision sums may
be rounded differently, which may move a membrane across its threshold. Then the alternatives take turns, each in a
process of its own. ``--cpu-time`` measures the processor's time, for a machine that does other work as well.
``pip install 'scmrl-plugins[benchmarks]'`` installs SpikingJelly.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import importlib.util
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.bench.speed.compare import alternating
from scmrl_plugins.bench.speed.settings import BASELINE, OURS, SMALL, Settings
from scmrl_plugins.bench.speed.step import CHANNELS, CLASSES, Step
from scmrl_plugins.bench.speed.worker import Worker
from scmrl_plugins.bench.spread import spread
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.interfaces import MODALITIES, ModelOutput
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import allocator, files
from scmrl_plugins.core.system.child import Child
from scmrl_plugins.core.system.memory import format_bytes
from scmrl_plugins.core.training.step import Step as TrainingStep

SPIKINGJELLY, THROUGH_TIME = "spikingjelly", "ours, gradients across time steps"
VARIANTS = {
    BASELINE: "published form",
    SPIKINGJELLY: "SpikingJelly",
    THROUGH_TIME: "ours, gradients across time steps",
    OURS: "ours",
}
TARGET = 3.0
"""A training step of SpikingJelly's over one of ours."""


def lif(config: ExperimentConfig) -> nn.Module:
    """SpikingJelly's neuron with the settings of ours."""
    from spikingjelly.activation_based import neuron, surrogate

    options = config.neuron.options
    return neuron.LIFNode(
        tau=options["tau"],
        decay_input=True,
        v_threshold=options["threshold"],
        v_reset=0.0,
        surrogate_function=surrogate.Sigmoid(alpha=options["alpha"]),
        detach_reset=True,
        step_mode="m",
    )


class Layer(nn.Module):
    """LIF(BN(Conv(x))): ``[T, B, C, H, W]`` with a kernel of 3, or ``[T, B, C, N]`` with a kernel of 1."""

    def __init__(
        self, config: ExperimentConfig, channels: int, out: int, *, dims: int = 1, bias: bool = False
    ) -> None:
        from spikingjelly.activation_based import layer

        super().__init__()
        if dims == 2:
            self.conv: nn.Module = layer.Conv2d(channels, out, 3, padding=1, bias=bias, step_mode="m")
            self.bn: nn.Module = layer.BatchNorm2d(out, step_mode="m")
        else:
            self.conv = layer.Conv1d(channels, out, 1, bias=bias, step_mode="m")
            self.bn = layer.BatchNorm1d(out, step_mode="m")
        self.neuron = lif(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.bn(self.conv(x)))


class Splitting(nn.Module):
    """Stages of a layer and a pooling, and the position embedding: ``[T, B, C, H, W] -> [T, B, D, N]``."""

    def __init__(self, config: ExperimentConfig, channels: int, shares: tuple[int, ...]) -> None:
        from spikingjelly.activation_based import layer

        super().__init__()
        widths = [config.model.embed_dims // share for share in shares]
        pairs = zip([channels, *widths[:-1]], widths, strict=True)
        self.stages = nn.ModuleList(Layer(config, c, d, dims=2) for c, d in pairs)
        self.pool = layer.SeqToANNContainer(nn.MaxPool2d(3, 2, 1))
        self.position = Layer(config, widths[-1], widths[-1], dims=2)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = self.pool(stage(x))
        return (x + self.position(x)).flatten(3)


class MLP(nn.Module):
    """x + two layers of x: ``[T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__()
        dims = config.model.embed_dims
        self.expand = Layer(config, dims, 4 * dims, bias=True)
        self.contract = Layer(config, 4 * dims, dims, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.contract(self.expand(x))


class Backbone(nn.Module):
    """Patch splitting before the fusion, and the MLP after it."""

    def __init__(self, config: ExperimentConfig, channels: int, shares: tuple[int, ...]) -> None:
        super().__init__()
        self.patches = Splitting(config, channels, shares)
        self.mlp = MLP(config)


class Attention(nn.Module):
    """LIF(q (k^T v) / 4) and a layer, over tokens or, with ``temporal``, over the time steps of each token."""

    def __init__(self, config: ExperimentConfig, temporal: bool) -> None:
        super().__init__()
        dims, self.heads, self.temporal = config.model.embed_dims, config.model.num_heads, temporal
        self.query, self.key, self.value, self.projection = (Layer(config, dims, dims) for _ in range(4))
        self.neuron = lif(config)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        split = [x.unflatten(2, (self.heads, -1)) for x in (self.query(own), self.key(other), self.value(other))]
        # [T, B, h, d, N] to [T, B, h, N, d] or [N, B, h, T, d].
        order = (4, 1, 2, 0, 3) if self.temporal else (0, 1, 2, 4, 3)
        q, k, v = (x.permute(order) for x in split)
        shorter = q.shape[-2] > q.shape[-1]
        mixed = (q @ (k.mT @ v) if shorter else (q @ k.mT) @ v) * 0.25
        back = (3, 1, 2, 4, 0) if self.temporal else (0, 1, 2, 4, 3)
        return self.projection(self.neuron(mixed.permute(back).flatten(2, 3)))


class Projection(nn.Module):
    """LIF(Linear(r)) over channels: ``[T, B, D, N] -> [T, B, D, N]``."""

    def __init__(self, config: ExperimentConfig) -> None:
        from spikingjelly.activation_based import layer

        super().__init__()
        dims = config.model.embed_dims
        self.linear = layer.Linear(dims, dims, step_mode="m")
        self.neuron = lif(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.linear(x.mT).mT)


class Direction(nn.Module):
    """The residual of one modality from the other."""

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__()
        self.spatial, self.temporal = Attention(config, temporal=False), Attention(config, temporal=True)
        self.project = Projection(config)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        spatial, temporal = self.spatial(own, other), self.temporal(own, other)
        return self.project(spatial.mean(3, keepdim=True) * temporal.mean(0, keepdim=True))


class Network(nn.Module):
    """S-CMRL: ``audio, visual [B, C, H, W] -> ModelOutput``. Its modules have the names of ours."""

    def __init__(self, config: ExperimentConfig) -> None:
        from spikingjelly.activation_based import layer

        super().__init__()
        self.steps, self.config = config.model.steps, config
        shares = (8, 4, 2, 1) if config.model.image_size >= 64 else (2, 1)
        self.backbones = nn.ModuleDict({name: Backbone(config, CHANNELS[name], shares) for name in MODALITIES})
        self.fusion = nn.ModuleDict(
            {name: Direction(config) for name in ("audio_from_visual", "visual_from_audio")}
        )
        self.readout = nn.ModuleDict({"head": layer.Linear(config.model.embed_dims, CLASSES, step_mode="m")})

    def forward(self, audio: Tensor, visual: Tensor) -> ModelOutput:
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        a, v = (
            self.backbones[name].patches(x.unsqueeze(0).repeat(self.steps, 1, 1, 1, 1))
            for name, x in (("audio", audio), ("visual", visual))
        )
        residuals = {
            "audio": self.fusion["audio_from_visual"](a, v),
            "visual": self.fusion["visual_from_audio"](v, a),
        }
        streams = [
            self.backbones[name].mlp(x + 1.5 * residuals[name]) for name, x in (("audio", a), ("visual", v))
        ]
        step_logits = self.readout["head"](streams[0].mean(3) + streams[1].mean(3))
        aligned = {name: x.mean(3) for name, x in residuals.items()}
        return ModelOutput(logits=step_logits.mean(0), aligned=aligned, step_logits=step_logits)

    def take(self, ours: nn.Module) -> None:
        """The weights and statistics of our model."""
        self.load_state_dict({name: x for name, x in ours.state_dict().items() if ".neuron." not in name})
        for name, module in ours.named_modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                self.get_submodule(name).momentum = module.momentum


class SpikingJellyStep(Step):
    """A step of the network from SpikingJelly's parts, with the weights that ours starts with."""

    def __init__(self, config: ExperimentConfig, device: torch.device) -> None:
        super().__init__(config, device)
        network = Network(config).to(device)
        network.take(self.model)
        self.model: Any = network
        optimizer = torch.optim.AdamW(network.parameters(), config.train.lr or 1e-4, weight_decay=1e-4)
        self.step = TrainingStep(network, self.loss, optimizer)


class Variant(Worker):
    """The measurements of one of ``VARIANTS``; with ``cpu_time`` the processor's time."""

    def __init__(self, variant: str, settings: Settings, device: str, cpu_time: bool) -> None:
        super().__init__(variant if variant == BASELINE else OURS, settings, device)
        self.variant, self.clock = variant, time.process_time if cpu_time else time.perf_counter
        if variant == THROUGH_TIME:
            self.config = through_time(self.config)

    def version(self) -> str:
        """The version of SpikingJelly."""
        return importlib.metadata.version("spikingjelly")

    def _step(self, config: ExperimentConfig) -> Step:
        return SpikingJellyStep(config, self.device) if self.variant == SPIKINGJELLY else super()._step(config)

    def _timed(self, work: Callable[[], Any]) -> float:
        self._synchronize()
        start = self.clock()
        work()
        self._synchronize()
        return self.clock() - start


def start(variant: str, settings: Settings, device: str, cpu_time: bool) -> Variant:
    """Set up this process for a variant."""
    torch.set_num_threads(settings.threads)
    if variant in (OURS, THROUGH_TIME):  # as our training does
        allocator.keep_large_blocks()
    return Variant(variant, settings, device, cpu_time)


def through_time(config: ExperimentConfig) -> ExperimentConfig:
    """Ours with gradients through the membrane."""
    neuron = type(config.neuron).model_validate({**config.neuron.model_dump(), "detach_membrane": False})
    return config.model_copy(update={"neuron": neuron})


def compare(settings: Settings, device: str) -> dict[str, Any]:
    """Spikes, logits and gradients of one training step, ours and SpikingJelly's, by precision.

    Ours has images channels first and the first layer on every step, so that both round as alike as they can.
    """
    config = through_time(settings.config(OURS))
    config = config.model_copy(update={"model": config.model.model_copy(update={"layout": "channels-first"})})
    target, results = torch.device(device), {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        ours = Step(config, target, every_step=True)
        _excite(ours.model)
        network = Network(config).to(target)
        network.take(ours.model)
        inputs = {key: x.to(dtype) for key, x in ours.inputs.items()}
        recorded = [_record(model.to(dtype), ours.loss, inputs, ours.target) for model in (ours.model, network)]
        results[name] = _differences(*recorded)
    return results


@torch.no_grad()
def _excite(model: nn.Module) -> None:
    """Weights of the fusion with which its neurons fire: at initialisation it is silent, as published."""
    for name, x in model.named_parameters():
        if name.startswith("fusion."):
            if name.endswith("bn.bias"):
                x.fill_(1.5)
            elif name.endswith("project.linear.weight"):
                x.mul_(2000.0)


def _record(model: nn.Module, loss: Any, inputs: Mapping[str, Tensor], target: Tensor) -> dict[str, Any]:
    """The spikes by layer, logits and gradients of a training step."""
    spikes: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: spikes.update({name: out.detach().bool()}))
        for name, module in model.named_modules()
        if name.endswith("neuron")
    ]
    output = model.train()(**inputs)
    loss(output, target)[0].backward()
    for hook in hooks:
        hook.remove()
    grads = {name: copy.copy(x.grad) for name, x in model.named_parameters() if x.grad is not None}
    return {"spikes": spikes, "logits": output.logits.detach(), "gradients": grads}


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    if ours["spikes"].keys() != theirs["spikes"].keys() or ours["gradients"].keys() != theirs["gradients"].keys():
        raise SystemExit("error: the two networks do not have the same neurons and weights")
    differing = {name: int((x != theirs["spikes"][name]).sum()) for name, x in ours["spikes"].items()}
    gradients = [(x, theirs["gradients"][name]) for name, x in ours["gradients"].items()]
    distance = sum(float((x - y).square().sum()) for x, y in gradients)
    return {
        "spikes": sum(x.numel() for x in ours["spikes"].values()),
        "differing": sum(differing.values()),
        "differing_by_layer": {name: count for name, count in differing.items() if count},
        "silent_layers": [name for name, x in ours["spikes"].items() if not x.any()],
        "logits": float((ours["logits"] - theirs["logits"]).abs().max()),
        "gradients": (distance / sum(float(x.square().sum()) for x, _ in gradients)) ** 0.5,
    }


def measure(settings: Settings, device: str, cpu_time: bool) -> dict[str, Any]:
    """Seconds, memory and ratios of all variants, each in its process, alternately."""
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(_side(name, settings, device, cpu_time)) for name in VARIANTS}
        prepared = {name: child.call("prepare") for name, child in sides.items()}
        version = sides[SPIKINGJELLY].call("version")
        train = alternating({name: (child, "train") for name, child in sides.items()}, settings.repeats)
        infer = alternating({name: (child, "infer") for name, child in sides.items()}, settings.repeats)
    memory = {name: result["memory"] for name, result in prepared.items()}
    return {
        "train": {name: spread(seconds) for name, seconds in train.items()},
        "inference": {name: spread(seconds) for name, seconds in infer.items()},
        "memory": memory,
        "first_losses": {name: result["first_loss"] for name, result in prepared.items()},
        "train_ratio": _ratios({name: min(seconds) for name, seconds in train.items()}),
        "inference_ratio": _ratios({name: min(seconds) for name, seconds in infer.items()}),
        "memory_ratio": _ratios(memory),
        "cpu_time": cpu_time,
        "spikingjelly": version,
        "settings": asdict(settings),
        "hardware": environment.hardware(device, prepared[OURS]["device_name"]),
        "environment": environment.describe(settings.config(OURS)),
    }


def _ratios(values: Mapping[str, float | None]) -> dict[str, float | None]:
    ours = values[OURS]
    return {name: value / ours if value and ours else None for name, value in values.items() if name != OURS}


def _side(variant: str, settings: Settings, device: str, cpu_time: bool) -> Child:
    ours = variant in (OURS, THROUGH_TIME)
    variables = {
        "OMP_NUM_THREADS": str(settings.threads),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        allocator.HUGE_PAGES: str(int(ours)),
        "SCMRL_COMPILE": os.environ.get("SCMRL_COMPILE", "auto") if ours else "never",
    }
    return Child(repr(variant), start, variant, settings, device, cpu_time, environment=variables)


def markdown(results: Mapping[str, Any], command: str) -> str:
    """The tables, with the machine and the versions."""
    settings, hardware = results["settings"], results["hardware"]
    clock = "processor's time" if results["cpu_time"] else "time"
    lines = [
        f"The same network in four forms: minimum {clock}, {settings['repeats']} alternating rounds, and / ours:",
        "",
        "| | training step | / ours | inference | / ours | peak memory | / ours |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, title in VARIANTS.items():
        version = f" {results['spikingjelly']}" if name == SPIKINGJELLY else ""
        cells = [f"{title}{version}"]
        for kind in ("train", "inference"):
            ratio = results[f"{kind}_ratio"].get(name, 1.0)
            cells += [f"{1e3 * results[kind][name]['minimum']:.0f} ms", f"{ratio:.2f}"]
        memory, ratio = results["memory"][name], results["memory_ratio"].get(name, 1.0)
        cells += [format_bytes(memory), f"{ratio:.2f}"] if memory and ratio else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    ratio = results["train_ratio"][SPIKINGJELLY]
    lines += ["", f"- training step, SpikingJelly / ours: {ratio:.2f}; target: {TARGET}"]
    lines += [f"- {line}" for line in compared(results["compared"])]
    lines += [
        "- across time steps: gradients pass through the membrane, as always in SpikingJelly; else each step is "
        "differentiated alone, as published",
        f"- cmrl, batch {settings['batch']}, {settings['steps']} steps, image size {settings['image_size']}, "
        f"{settings['dims']} dimensions, {settings['heads']} heads, {settings['threads']} threads",
    ]
    machine = (
        f"{hardware['device_name'] or hardware['device']}, {hardware['cpu']}, {hardware['cores']} cores, "
        f"{hardware['compiler'] or 'no compiler'}"
    )
    lines.append(f"- {environment.provenance(command, machine, results['environment'])}")
    return "\n".join(lines) + "\n"


def compared(results: Mapping[str, Any]) -> list[str]:
    """A line for each precision."""
    return [
        f"{name}: {one['differing']:,} of {one['spikes']:,} outputs of neurons differ, logits by "
        f"{one['logits']:.1e} at most, gradients by {one['gradients']:.1e} of their norm; "
        f"{len(one['silent_layers'])} layers are silent"
        for name, one in results.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a network of 32 dimensions, for a try")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--cpu-time", action="store_true", help="measure the processor's time")
    parser.add_argument("-o", "--output", type=Path, help="folder for spikingjelly.json and spikingjelly.md")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    options = parser.parse_args()
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads are 1 or more")
    if importlib.util.find_spec("spikingjelly") is None:
        parser.error("SpikingJelly is missing: pip install 'scmrl-plugins[benchmarks]'")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no such device")
    settings = replace(SMALL, dims=32) if options.small else Settings()
    settings = replace(settings, threads=options.threads, repeats=options.repeats)
    torch.set_num_threads(options.threads)
    found = compare(settings, options.device)
    results = {"compared": found, **measure(settings, options.device, options.cpu_time)}
    flags = [name for name, given in (("--small", options.small), ("--cpu-time", options.cpu_time)) if given]
    words = [
        "python benchmarks/spikingjelly_model.py",
        f"--repeats {options.repeats}",
        f"--threads {options.threads}",
    ]
    command = " ".join([*words, *flags])
    if options.output:
        files.write_json(options.output / "spikingjelly.json", {"command": command, **results})
        files.write_text(options.output / "spikingjelly.md", markdown(results, command))
    print(json.dumps(results, indent=2) if options.json else markdown(results, command))


if __name__ == "__main__":
    main()

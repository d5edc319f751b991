"""What a model costs and how it fires, measured on one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scmrl_plugins.core.interfaces import MODALITIES, ModelOutput
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.parallel.processes import Processes


@dataclass
class Measurement:
    """Parameters, multiply-accumulate operations a sample, tokens a modality, firing rate of every neuron."""

    parameters: int
    operations: int
    tokens: dict[str, int] = field(default_factory=dict)
    firing_rates: dict[str, float] = field(default_factory=dict)

    @property
    def dead(self) -> list[str]:
        """Neuron layers that never fired: no information passes through them."""
        return dead_layers(self.firing_rates)


def dead_layers(firing_rates: Mapping[str, float]) -> list[str]:
    """The names of the layers that never fired."""
    return [name for name, rate in firing_rates.items() if rate == 0]


class FiringRates:
    """While open, counts the spikes of every neuron layer: ``rates`` is spikes a neuron and time step.

    A layer with analogue output counts where it is not zero.
    """

    def __init__(self, model: AudioVisualModel) -> None:
        self.layers: list[tuple[str, nn.Module]] = [
            (n, m) for n, m in model.named_modules() if isinstance(m, model.neuron_type)
        ]
        self._spikes: dict[str, int | Tensor] = dict.fromkeys((name for name, _ in self.layers), 0)
        self._total: dict[str, int] = dict.fromkeys((name for name, _ in self.layers), 0)

    def __enter__(self) -> FiringRates:
        self._handles = [
            module.register_forward_hook(lambda _module, _args, out, name=name: self._count(name, out))
            for name, module in self.layers
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _count(self, name: str, out: Tensor) -> None:
        self._spikes[name] += torch.count_nonzero(out)  # read at the end: a GPU is not waited for here
        self._total[name] += out.numel()

    def add_up(self, processes: Processes) -> None:
        """Take the counts of all processes together."""
        counts = [[int(self._spikes[name]), self._total[name]] for name, _ in self.layers]
        for (name, _), (spikes, total) in zip(self.layers, processes.total(torch.tensor(counts)), strict=True):
            self._spikes[name], self._total[name] = int(spikes), int(total)

    @property
    def rates(self) -> dict[str, float]:
        """Firing rate by the name of the layer, 0 for one that was not reached."""
        return {name: int(spikes) / max(1, self._total[name]) for name, spikes in self._spikes.items()}


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters; thresholds and slopes that are constants do not count."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def random_inputs(
    model: AudioVisualModel, device: torch.device, batch: int = 2, seed: int = 0
) -> dict[str, Tensor]:
    """One batch of standard normal inputs, ``{"audio": [B, C, H, W], "visual": [B, C, H, W]}``."""
    generator = torch.Generator().manual_seed(seed)
    size = model.config.model.image_size
    return {
        name: torch.randn(batch, channels, size, size, generator=generator).to(device)
        for name, channels in model.channels.items()
    }


def measure(model: AudioVisualModel, inputs: dict[str, Tensor]) -> tuple[Measurement, ModelOutput]:
    """Run one batch in training mode, so that batch norm uses the batch itself, and measure; nothing is kept.

    Operations count convolutions, linear layers and matrix products over all time steps, per sample; one that does
    not depend on the step counts once, as it is done. Running statistics are left as they were.
    """
    batch = next(iter(inputs.values())).shape[0]
    state = {name: buffer.clone() for name, buffer in model.named_buffers()}
    tokens: dict[str, int] = {}

    def count_tokens(_fusion: nn.Module, streams: tuple[Tensor | None, ...]) -> None:
        given = zip(MODALITIES, streams, strict=True)
        tokens.update({name: stream.shape[-1] for name, stream in given if stream is not None})

    handle = model.fusion.register_forward_pre_hook(count_tokens)
    training = model.training
    try:
        model.train()
        with torch.no_grad(), FlopCounterMode(display=False) as flops, FiringRates(model) as firing:
            output = model(**inputs)
    finally:
        handle.remove()
        model.train(training)
        for name, buffer in model.named_buffers():
            buffer.copy_(state[name])
    operations = flops.get_total_flops() // 2 // batch
    return Measurement(count_parameters(model), operations, tokens, firing.rates), output

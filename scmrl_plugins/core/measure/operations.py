"""Parameters, operations, tokens and firing rates of a model, measured on one batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from scmrl_plugins.core.interfaces import MODALITIES, ModelOutput
from scmrl_plugins.core.measure.firing import FiringRates, dead_layers
from scmrl_plugins.core.model.audio_visual import AudioVisualModel


@dataclass
class Measurement:
    """Parameters, multiply-accumulate operations per sample, tokens by modality, firing rates by layer."""

    parameters: int
    operations: int
    tokens: dict[str, int] = field(default_factory=dict)
    firing_rates: dict[str, float] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    """Neuron layers that fire the same for every sample."""

    @property
    def dead(self) -> list[str]:
        """Neuron layers that never fired."""
        return dead_layers(self.firing_rates)


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


@contextlib.contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Training mode, in which batch norm uses the batch itself; mode and running statistics are restored."""
    training, state = model.training, {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        model.train()
        yield
    finally:
        model.train(training)
        for name, buffer in model.named_buffers():
            buffer.copy_(state[name])


def measure(model: AudioVisualModel, inputs: dict[str, Tensor]) -> tuple[Measurement, ModelOutput]:
    """Run one batch in training mode, so that batch norm uses the batch itself, and measure it.

    Operations are those of convolutions, linear layers and matrix products over all time steps, per sample; one
    that does not depend on the time step runs once and counts once. Running statistics keep their values.
    """
    from torch.utils.flop_counter import FlopCounterMode  # here, as it imports Triton

    batch = next(iter(inputs.values())).shape[0]
    tokens: dict[str, int] = {}

    def count_tokens(_fusion: nn.Module, streams: tuple[Tensor | None, ...]) -> None:
        given = zip(MODALITIES, streams, strict=True)
        tokens.update({name: stream.shape[-1] for name, stream in given if stream is not None})

    handle = model.fusion.register_forward_pre_hook(count_tokens)
    try:
        with (
            batch_statistics(model),
            torch.no_grad(),
            FlopCounterMode(display=False) as flops,
            FiringRates(model) as firing,
        ):
            output = model(**inputs)
    finally:
        handle.remove()
    operations = flops.get_total_flops() // 2 // batch
    return Measurement(count_parameters(model), operations, tokens, firing.rates, firing.constant), output


@torch.no_grad()
def constant_logits(model: AudioVisualModel) -> str | None:
    """A line, with the remedy, where an untrained model gives the same logits for every sample; else none.

    Measured on a random batch, in training mode; running statistics and torch's generators keep their values.
    """
    inputs = random_inputs(model, next(model.parameters()).device)
    with torch.random.fork_rng(devices=[]), batch_statistics(model), FiringRates(model) as firing:
        logits = model(**inputs).logits
    if not torch.equal(logits, logits[:1].expand_as(logits)):
        return None
    cause = f": {firing.first_useless} passes nothing on" if firing.first_useless else ""
    return (
        f"the logits are the same for every sample{cause}; lower neuron.threshold, choose another neuron or "
        f"fusion, or see whether training changes it"
    )

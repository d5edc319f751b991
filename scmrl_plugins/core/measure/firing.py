"""Firing rates of a model's neuron layers, and the layers that pass nothing on."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.parallel.processes import Processes

DEAD, SATURATED = 0.001, 0.95
"""Firing rates below and above which a layer passes next to nothing on."""


@dataclass(frozen=True)
class Unhealthy:
    """A layer that fires at a ``rate`` below ``DEAD`` or above ``SATURATED``, and what usually helps."""

    layer: str
    rate: float

    @property
    def state(self) -> str:
        """``dead`` or ``saturated``."""
        return "dead" if self.rate < DEAD else "saturated"

    @property
    def remedy(self) -> str:
        """What usually helps, as settings."""
        if self.state == "saturated":
            return "raise neuron.threshold, or add the loss rate, which penalises it"
        if self.layer.startswith("fusion."):
            return "set fusion.attention_scale=auto where the fusion has it, or lower neuron.threshold"
        return "lower neuron.threshold, or train.lr if the layer fired before"

    def __str__(self) -> str:
        return f"{self.layer} is {self.state} (fires at {self.rate:.2%}): {self.remedy}"


def unhealthy(firing_rates: Mapping[str, float], tags: Collection[str] = ()) -> list[Unhealthy]:
    """The dead and the saturated layers. No rate is too high for a neuron with the tag ``analogue``."""
    return [
        Unhealthy(name, rate)
        for name, rate in firing_rates.items()
        if rate < DEAD or (rate > SATURATED and "analogue" not in tags)
    ]


def dead_layers(firing_rates: Mapping[str, float]) -> list[str]:
    """The names of the layers that never fired: no information passes through them."""
    return [name for name, rate in firing_rates.items() if rate == 0]


class FiringRates:
    """Counts the spikes of every neuron layer inside the ``with`` block.

    ``rates`` are spikes per neuron and time step. In a layer with analogue output, values other than zero count.
    ``constant`` are the layers that fire, but the same for every sample of a batch.
    """

    def __init__(self, model: AudioVisualModel) -> None:
        self.layers: list[tuple[str, nn.Module]] = [
            (n, m) for n, m in model.named_modules() if isinstance(m, model.neuron_type)
        ]
        self._spikes: dict[str, float | Tensor] = dict.fromkeys((name for name, _ in self.layers), 0)
        self._total: dict[str, int] = dict.fromkeys((name for name, _ in self.layers), 0)
        self._varies: dict[str, bool | Tensor] = {}
        """In the order of the calls, for layers that were called with several samples."""

    def __enter__(self) -> FiringRates:
        self._handles = [
            module.register_forward_hook(functools.partial(self._count, name)) for name, module in self.layers
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _count(self, name: str, neuron: Any, _args: object, out: Tensor) -> None:
        spikes = out != 0 if "analogue" in neuron.tags else out
        # By sample, as a larger sum of float32 may be rounded. To count zeros takes 30 times as long.
        sums = spikes.sum(tuple(range(2, out.dim())), dtype=torch.float32)
        self._spikes[name] += sums.sum(dtype=torch.float64)  # read at the end, so as not to wait for a GPU here
        self._total[name] += out.numel()
        found = self._varies.get(name, False)
        if out.shape[1] > 1 and not (out.device.type == "cpu" and found):
            self._varies[name] = found | (out != out[:, :1]).any()

    def add_up(self, processes: Processes) -> None:
        """Add the counts of all processes."""
        counts = [
            [int(self._spikes[name]), self._total[name], name in self._varies, bool(self._varies.get(name))]
            for name, _ in self.layers
        ]
        sums = processes.sum(torch.tensor(counts)).tolist()
        for (name, _), (spikes, total, compared, varying) in zip(self.layers, sums, strict=True):
            self._spikes[name], self._total[name] = spikes, total
            if compared:
                self._varies[name] = bool(varying)

    @property
    def rates(self) -> dict[str, float]:
        """Firing rate by the name of the layer, 0 for a layer that was not reached."""
        return {name: int(spikes) / max(1, self._total[name]) for name, spikes in self._spikes.items()}

    @property
    def constant(self) -> list[str]:
        """The names of the layers that fire the same for every sample: no information passes through them."""
        return [name for name, varies in self._varies.items() if not varies and self._spikes[name]]

    @property
    def first_useless(self) -> str | None:
        """The first layer in the order of the calls that is dead or constant."""
        return next((name for name, varies in self._varies.items() if not varies), None)

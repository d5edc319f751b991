"""The health of the neuron layers while a model trains: which are dead or saturated after an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.measure.firing import DEAD, SATURATED, unhealthy
from scmrl_plugins.core.measure.recording import Recording, record
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError

LIMITS = {"dead": f"fire below {DEAD:.1%}", "saturated": f"fire above {SATURATED:.0%}"}


Show = Callable[[Recording, int], None]
"""Shows the spikes and the attention of a sample after a training step."""


class Health:
    """Says after each epoch which layers have become dead or saturated, or stops, as ``train.on_dead`` wants.

    ``show``, where there is something that shows it, gets the recording of the first sample of ``split``.
    """

    def __init__(self, on_dead: str, split: FeatureSplit, show: Show | None, progress: Progress) -> None:
        self.on_dead, self.split, self.show, self.progress = on_dead, split, show, progress
        self.known: dict[str, str] = {}
        """The state of each layer that is dead or saturated."""

    def check(self, epoch: int, step: int, model: AudioVisualModel, firing_rates: Mapping[str, float]) -> None:
        """After an epoch, from the firing rates on the split that was evaluated; ``UserError`` to stop."""
        if self.show:
            self.show(self._record(model), step)
        neuron: Any = model.neuron_type
        found = {one.layer: one for one in unhealthy(firing_rates, neuron.tags)}
        before, self.known = self.known, {name: one.state for name, one in found.items()}
        fresh = [one for name, one in found.items() if before.get(name) != one.state]
        lines = [
            f"epoch {epoch}: {line}" for line in _lines([(one.state, one.remedy, one.layer) for one in fresh])
        ]
        if lines and self.on_dead == "stop":
            raise UserError(f"{lines[0]}; or set train.on_dead=warn")
        for line in lines:
            self.progress.line(f"warning: {line}")

    def _record(self, model: AudioVisualModel) -> Recording:
        sample, device = self.split[0], next(model.parameters()).device
        inputs = {name: torch.as_tensor(sample[name])[None].to(device) for name in model.modalities}
        return record(model, **inputs)


def _lines(found: list[tuple[str, str, str]]) -> Iterator[str]:
    """A line for each state and remedy, naming the layers."""
    for state, remedy in dict.fromkeys((state, remedy) for state, remedy, _ in found):
        layers = [layer for *kind, layer in found if kind == [state, remedy]]
        count = f"{len(layers)} neuron layers are" if len(layers) > 1 else "a neuron layer is"
        yield f"{count} {state} ({LIMITS[state]}): {', '.join(layers)}; {remedy}"

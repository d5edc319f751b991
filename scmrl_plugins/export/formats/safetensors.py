"""Weights with the configuration, the classes and the input channels: all that the model is built from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.completion import complete
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run import weights


def write(model: AudioVisualModel, example: Mapping[str, Tensor], path: Path) -> None:
    """Write the weights; the metadata has ``config`` as TOML, ``classes`` and ``channels`` as JSON."""
    described = {
        "config": layers.to_toml(model.config),
        "classes": json.dumps(model.classes),
        "channels": json.dumps(model.channels),
    }
    weights.save_weights(path, model, described)


def reader(path: Path) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The logits of a model that is built from the file."""
    described = weights.read_metadata(path)
    config = layers.validate(complete(layers.from_toml(described["config"])))
    model, _ = assembly.assemble_model(config, json.loads(described["classes"]), json.loads(described["channels"]))
    weights.load_weights(path, model.eval())

    @torch.no_grad()
    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        return model(**inputs).logits

    return run

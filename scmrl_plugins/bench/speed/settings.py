"""What ``scmrl bench speed`` compares: the sizes of the model, and its two variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.registry import UserError

BASELINE, OURS = "baseline", "ours"
_NEURON = {"tau": 2.0, "threshold": 1.0, "surrogate": "sigmoid", "alpha": 4.0}
NEURONS = {BASELINE: {"name": "braincog:LIFNode", **_NEURON}, OURS: {"name": "lif", **_NEURON}}

OPTIONS = {
    "model.embed_dims": "--dims",
    "model.num_heads": "--heads",
    "model.image_size": "--image-size",
    "model.steps": "--steps",
}
"""The options of the command by the keys of the configuration that they set."""


@dataclass(frozen=True)
class Settings:
    """Sizes, threads, and how many rounds are measured."""

    fusion: str = "cmrl"
    batch: int = 8
    image_size: int = 128
    steps: int = 4
    dims: int = 256
    heads: int = 16
    threads: int = 2
    repeats: int = 5
    kernel_shape: Sequence[int] = (4, 8, 32, 128, 128)

    def config(self, variant: str) -> ExperimentConfig:
        """The configuration of ``baseline`` or ``ours``; ``UserError`` for an impossible size."""
        sizes = {
            "steps": self.steps,
            "embed_dims": self.dims,
            "num_heads": self.heads,
            "image_size": self.image_size,
        }
        return layers.validate(
            {
                "neuron": NEURONS[variant],
                "fusion": {"name": self.fusion},
                "model": {**sizes, "layout": "channels-first"} if variant == BASELINE else sizes,
                "train": {"batch_size": self.batch, "lr": 5e-3 * self.batch / 1024},
            }
        )

    def check(self) -> None:
        """``UserError`` that names the options, for an unknown fusion or sizes that do not fit together."""
        import torch

        from scmrl_plugins.bench.speed.step import CHANNELS, CLASSES
        from scmrl_plugins.core.model.assembly import assemble_model

        try:
            with torch.device("meta"):  # without memory for the weights
                assemble_model(self.config(OURS), [str(number) for number in range(CLASSES)], CHANNELS)
        except UserError as error:
            message = str(error)
            for key, option in OPTIONS.items():
                message = message.replace(f"{key} = ", f"{option} ").replace(key, option)
            raise UserError(message) from error.__cause__


SMALL = Settings(batch=2, image_size=32, dims=64, heads=4)
"""The model whose cost is measured over time steps and tokens."""

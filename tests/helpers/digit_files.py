"""Small data sets on miniatures and on real copies."""

from __future__ import annotations

from pathlib import Path

from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.av_digits import AVDigits
from scmrl_plugins.plugins.datasets.spoken_digits import SpokenDigits


def spoken(root: Path | None, **settings: object) -> SpokenDigits:
    config = SpokenDigits.Config.model_validate({"root": str(root) if root else None, **settings})
    return SpokenDigits(config, ModelConfig(image_size=28))


def av(image_size: int = 28, **settings: object) -> AVDigits:
    config = AVDigits.Config.model_validate({"images": 100, "pairs": 1, "test_pairs": 2, **settings})
    return AVDigits(config, ModelConfig(image_size=image_size))

"""What data sets with sound share: the front end and the sample rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError, Dataset, Files, Modality, ModelConfig
from scmrl_plugins.plugins.datasets.files.folders import PICTURES
from scmrl_plugins.plugins.datasets.files.unlabelled import find
from scmrl_plugins.plugins.datasets.media import audio
from scmrl_plugins.plugins.datasets.media.front_end import USUAL_RATE, FrontEnd, SoundConfig
from scmrl_plugins.registry import UserError


class SoundDataset(Dataset):
    """A data set whose audio is sound: its ``front_end`` makes spectrograms of recordings and inputs of those."""

    Config: ClassVar[type[SoundConfig]] = SoundConfig
    slices = 1
    """Parts of the sound's time that are inputs of their own, see ``FrontEnd``."""

    def __init__(self, config: Any, model: ModelConfig) -> None:
        self.config: Any = self._with_rate(config)
        self.image_size, self.steps = model.image_size, model.steps
        self.front_end = FrontEnd(self.config, model.image_size, self.slices)

    @classmethod
    def native_rate(cls, config: Any) -> int:
        """The sample rate of the data set's recordings in Hz, as far as it is known without them."""
        return USUAL_RATE

    @classmethod
    def _with_rate(cls, config: Any) -> Any:
        if config.sample_rate is not None:
            return config
        return config.model_copy(update={"sample_rate": cls.native_rate(config)})

    @classmethod
    def settle(cls, config: Any) -> Any:
        """The configuration with the sample rate."""
        return cls._with_rate(config)

    def find(self, source: Path, bad: list[BadFileError]) -> Sequence[Files]:
        """The samples to classify in a folder or a table."""
        return find(source, bad)

    def heard(self, path: Path | None, seconds: float, hop: float) -> Iterator[tuple[float, audio.Sound]]:
        """The windows of a sound, see ``audio.windows``. Raises ``UserError`` for a picture."""
        if path is None or path.suffix.lower() in PICTURES:
            raise UserError(f"{path or 'no sound'}: --window divides sound and videos; leave it out, or give one")
        number = dict(self.config).get("audio_stream")
        return audio.windows(path, path, seconds, hop, number)

    def measure(self, samples: Iterable[Mapping[str, np.ndarray]]) -> Mapping[str, Any]:
        """Mean and deviation of each row of the spectrograms, where ``standardize`` needs them."""
        settings = self.front_end.measured(sample["audio"] for sample in samples if "audio" in sample)
        if settings:
            self.config = self.config.model_copy(update=settings)
            self.front_end = FrontEnd(self.config, self.image_size, self.slices)
        return settings

    @property
    def blank(self) -> Mapping[Modality, np.ndarray]:
        """Digital silence as the front end shows it, and what the base class gives for pictures."""
        return {**super().blank, "audio": self.front_end.blank}

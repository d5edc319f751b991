"""Recordings of audio with images or videos, and the transforms of S-CMRL."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import MODALITIES, ModelConfig
from scmrl_plugins.plugins.datasets.bases.sound import SoundDataset
from scmrl_plugins.plugins.datasets.files.folders import VIDEOS
from scmrl_plugins.plugins.datasets.media import audio as sound
from scmrl_plugins.plugins.datasets.media import images, video
from scmrl_plugins.plugins.datasets.media.front_end import SoundConfig
from scmrl_plugins.plugins.datasets.media.read import read_bytes, source_of
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 2
"""Incremented when the result of ``transform`` changes."""
_ASPECT = [3.0 / 4.0, 4.0 / 3.0]
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)[:, None, None]
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)[:, None, None]


class RecordingsConfig(SoundConfig):
    """Settings of all data sets of recordings."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of the splits")
    validation: float = Field(0.1, gt=0, lt=1, description="share of training samples for validation")
    frames: int = Field(1, ge=1, le=64, description="number of video frames, spread over the time steps")
    resize: int | None = Field(
        None, ge=4, le=4096, description="shorter side of stored images; none: twice model.image_size"
    )
    crop_scale: tuple[float, float] = Field(
        (0.08, 1.0), strict=False, description="smallest and largest share of the picture in a training crop"
    )
    flip: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip in training")
    normalize: Literal["imagenet", "none"] = Field(
        "imagenet", description="imagenet: with ImageNet's mean and standard deviation; none: values in [0, 1]"
    )

    @model_validator(mode="after")
    def _settings_fit(self) -> RecordingsConfig:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"crop_scale {low} to {high}: expected two shares of the image, the smaller one first"
            )
        return self


class Recordings(SoundDataset):
    """Sounds and pictures: spectrograms ``[1, S, S]``, RGB ``[3, S, S]`` or ``[T, 3, S, S]``.

    S is the model's ``image_size``. Stored: the complete spectrogram, resized to S x S, and the picture (or
    ``frames`` of a video) with its shorter side ``resize``. Drawn each time a training sample is loaded: a random
    crop of the picture of ``crop_scale`` and aspect 3/4 to 4/3, its mirror image, and a hidden band of frequencies
    and of time (SpecAugment, arXiv 1904.08779, filled with the spectrogram's mean). Evaluation takes the middle of
    the picture. Source: S-CMRL, arXiv 2502.12488, which crops the original picture and not one of side ``resize``.

    A subclass defines ``classes`` and ``splits``.
    """

    Config: ClassVar[type[RecordingsConfig]] = RecordingsConfig
    channels: Mapping[str, int] = {"audio": 1, "visual": 3}

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        if config.frames > model.steps:
            raise UserError(
                f"dataset.frames = {config.frames}: the model has only {model.steps} time steps; "
                f"set model.steps to at least as many"
            )
        if config.resize is not None and config.resize < model.image_size:
            raise UserError(
                f"dataset.resize = {config.resize}: smaller than model.image_size {model.image_size}, which is "
                f"cropped from it; increase it"
            )
        self.side = config.resize or 2 * model.image_size

    def transform_key(self) -> Mapping[str, Any]:
        """The settings and sizes that the stored arrays depend on."""
        return {"version": VERSION, **self.front_end.key(), "frames": self.config.frames, "side": self.side}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, list[np.ndarray]]:
        """Rows to ``audio``, float32 ``[1, S, S]``, and ``visual``, uint8 ``[frames, H, W, 3]``, as stored.

        A modality that is absent from all rows is left out. Raises ``BadFileError`` for a file that cannot be
        decoded, holds nothing, or is silent.
        """
        decoders = {"audio": self._spectrogram, "visual": self._pictures}
        return {
            name: [decoders[name](*source_of(cell, name)) for cell in rows[name]]
            for name in MODALITIES
            if any(cell is not None for cell in rows.get(name) or [])
        }

    def _spectrogram(self, source: bytes | Path, name: str) -> np.ndarray:
        return self.front_end.spectrogram(*sound.decode(source, name), name)

    def _pictures(self, source: bytes | Path, name: str) -> np.ndarray:
        from PIL import Image
        from torchvision.transforms.v2 import functional as tv

        if Path(name).suffix.lower() in VIDEOS:
            pictures = video.decode(source, name, self.config.frames)
        else:
            pictures = [images.decode_colour(source, name)]
        return np.stack([np.asarray(tv.resize(Image.fromarray(picture), [self.side])) for picture in pictures])

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        """The stored arrays of a sample to ``audio [1, S, S]`` and ``visual [3, S, S]`` or ``[T, 3, S, S]``."""
        result = {}
        if "audio" in stored:
            result["audio"] = self.front_end.inputs(stored["audio"], training)
        if "visual" in stored:
            result["visual"] = self._picture(stored["visual"], training)
        return result

    def _picture(self, pictures: np.ndarray, training: bool) -> np.ndarray:
        import torch
        from torchvision.transforms.v2.functional import center_crop

        # All frames of a video have the same crop. Colours are adjacent in memory, as the resizing kernel
        # reads them.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            stored = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        crop = self._random_crop(stored) if training else center_crop(stored, [self.image_size]).numpy()
        # In numpy, because for small images torch takes longer to start its threads than for the arithmetic.
        x = crop.astype(np.float32, order="C")
        x /= np.float32(255.0)
        if self.config.normalize == "imagenet":
            x -= _MEAN
            x /= _DEVIATION
        if len(x) == 1:
            return x[0]
        return x[np.arange(self.steps) * len(x) // self.steps]

    def _random_crop(self, pictures: Tensor) -> np.ndarray:
        """torchvision's random resized crop and flip, on the tensor itself.

        Its classes search inputs for images in nested containers, which takes almost as long as resizing.
        """
        import torch
        from torch.nn import functional as F
        from torchvision.transforms import RandomResizedCrop

        top, left, height, width = RandomResizedCrop.get_params(pictures, list(self.config.crop_scale), _ASPECT)
        crop = pictures[..., top : top + height, left : left + width]
        size = (self.image_size, self.image_size)
        resized = F.interpolate(crop, size=size, mode="bilinear", align_corners=False, antialias=True).numpy()
        return resized[..., ::-1] if torch.rand(1).item() < self.config.flip else resized

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        """One row from the user's files, ``{"audio": {"bytes", "path"}, "visual": ...}``; ``None`` if not given.

        Recordings of any sample rate and pictures or videos of any size are accepted, as in training. Raises
        ``UserError`` for files that are missing or empty.
        """
        return {
            name: {"bytes": read_bytes(Path(path), path), "path": str(path)} if path is not None else None
            for name, path in (("audio", audio), ("visual", visual))
        }

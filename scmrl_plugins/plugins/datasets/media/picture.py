"""The front end of pictures: their settings, and the way from a picture or a video to a model's input."""

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from scmrl_plugins.core.interfaces import BadFileError, ComponentConfig, ModelConfig
from scmrl_plugins.plugins.datasets.files.folders import VIDEOS
from scmrl_plugins.plugins.datasets.media import images, video
from scmrl_plugins.plugins.datasets.media.read import refused
from scmrl_plugins.plugins.datasets.media.resize import moved
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from torch import Tensor

_ASPECT = [3.0 / 4.0, 4.0 / 3.0]
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)[:, None, None]
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32)[:, None, None]


class PictureConfig(ComponentConfig):
    """Settings of every data set of pictures or videos. By default nothing is cut off and nothing mirrored."""

    frames: int | None = Field(
        None,
        ge=1,
        le=64,
        description="number of video frames, spread over the time steps; none: 1, or one a step (align = 'step')",
    )
    longest_video: float = Field(
        video.LONGEST,
        gt=0,
        le=86_400,
        description=f"longest video in seconds, of at most {video.MOST:,} frames; longer ones are refused",
    )
    resize: Literal["fit", "double"] | int = Field(
        "fit",
        description="stored pictures; fit: all of the picture, model.image_size high and wide; a number: the "
        "shorter side in pixels; double (published): twice model.image_size. Evaluation takes the middle",
        json_schema_extra={"before": "double"},
    )
    crop_scale: tuple[float, float] = Field(
        (1.0, 1.0),
        strict=False,
        description="smallest and largest share of the picture in a training crop; published: [0.08, 1.0]",
    )
    flip: float = Field(
        0.0, ge=0, le=1, description="probability of a horizontal flip in training; published: 0.5"
    )
    shift: float = Field(
        0.08,
        ge=0,
        le=0.5,
        description="largest translation in training, as a share of the side; what becomes free repeats the edge",
        json_schema_extra={"before": 0.0},
    )
    normalize: Literal["imagenet", "none"] = Field(
        "none",
        description="none: values in [0, 1]; imagenet (published): with ImageNet's mean and standard deviation",
    )

    @model_validator(mode="after")
    def _pictures_fit(self) -> PictureConfig:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"crop_scale {low} to {high}: expected two shares of the image, the smaller one first"
            )
        if isinstance(self.resize, int) and not 4 <= self.resize <= 4096:
            raise ValueError(f"resize {self.resize}: expected 4 to 4096 pixels, 'fit' or 'double'")
        return self


class PictureFrontEnd:
    """A picture, or ``frames`` of a video, to uint8 ``[frames, H, W, 3]``, which is stored, and that to the input.

    The input is float32 ``[3, S, S]``, of several frames ``[T, 3, S, S]``. Drawn each time a training sample is
    loaded, alike for all frames: a crop of ``crop_scale`` and aspect 3/4 to 4/3, its mirror image, a translation.
    Evaluation takes the middle S x S pixels, which are all with ``resize = "fit"``. Source of what is published:
    S-CMRL, arXiv 2502.12488, which crops the original picture and not one of another size.
    """

    def __init__(self, config: PictureConfig, model: ModelConfig, frames: int = 1) -> None:
        self.config, self.size, self.steps = config, model.image_size, model.steps
        self.frames = config.frames or frames
        if self.frames > model.steps:
            raise UserError(
                f"dataset.frames = {self.frames}: the model has only {model.steps} time steps; "
                f"set model.steps to at least as many"
            )
        if isinstance(config.resize, int) and config.resize < model.image_size:
            raise UserError(
                f"dataset.resize = {config.resize}: smaller than model.image_size {model.image_size}, which is "
                f"cropped from it; increase it"
            )
        self.stored_size = {"fit": [self.size] * 2, "double": [2 * self.size]}.get(
            str(config.resize), [config.resize]
        )
        """Height and width of what is stored, or only its shorter side."""

    def key(self) -> dict[str, object]:
        """The settings and sizes that stored pictures depend on."""
        return {
            "frames": self.frames,
            "stored_size": self.stored_size,
            "longest_video": self.config.longest_video,
        }

    def decode(self, source: bytes | Path, name: str, number: int | None = None) -> np.ndarray:
        """A file to uint8 ``[frames, H, W, 3]``, of a picture one frame. Raises ``BadFileError``."""
        if Path(name).suffix.lower() in VIDEOS:
            each = functools.partial(self.stored, name=name)
            return np.stack(video.decode(source, name, self.frames, self.config.longest_video, each, number))
        with refused(name, "not an image that can be resized", "shrink it"):
            return self.stored(images.decode_colour(source, name), name)[None]

    def stored(self, picture: np.ndarray, name: str) -> np.ndarray:
        """A picture, uint8 ``[H, W, 3]``, in the size in which it is stored. ``BadFileError`` for one too thin."""
        from PIL import Image  # and not torchvision, which takes 160 MB and two seconds to import

        height, width, *_ = *map(int, self.stored_size), 0
        if len(self.stored_size) == 1:
            short, long = sorted(picture.shape[:2])
            pixels = height**2 * long // short * self.frames
            if pixels > images.LARGEST:
                raise BadFileError(
                    name,
                    f"of {picture.shape[1]} x {picture.shape[0]} pixels, it would be stored with {pixels:,}, "
                    f"at most {images.LARGEST:,} are; crop it, or set dataset.resize = 'fit'",
                )
            side = height
            height, width = (side if each == short else int(side * long / short) for each in picture.shape[:2])
        return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))

    @property
    def blank(self) -> np.ndarray:
        """The input of a black picture, float32 ``[3, 1, 1]``."""
        return self._normalized(np.zeros((3, 1, 1), np.float32))

    def inputs(self, stored: np.ndarray, training: bool) -> np.ndarray:
        """Stored pictures to the model's input. Random draws come from torch's generator."""
        import torch
        from torchvision.transforms.v2.functional import center_crop

        # Colours are adjacent in memory, as the resizing kernel reads them.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            pictures = torch.from_numpy(stored).permute(0, 3, 1, 2)
        crop = self._drawn(pictures) if training else center_crop(pictures, [self.size] * 2).numpy()
        # In numpy, because for small images torch takes longer to start its threads than for the arithmetic.
        x = self._normalized(crop.astype(np.float32, order="C"))
        if len(x) == 1:
            return x[0]
        return x[np.arange(self.steps) * len(x) // self.steps]

    def _normalized(self, x: np.ndarray) -> np.ndarray:
        """Values from 0 to 255, ``[..., 3, H, W]``, to those of the model's input, in place."""
        x /= np.float32(255.0)
        if self.config.normalize == "imagenet":
            x -= _MEAN
            x /= _DEVIATION
        return x

    def _drawn(self, pictures: Tensor) -> np.ndarray:
        """torchvision's random resized crop and flip, on the tensor itself, then a translation.

        Its classes search inputs for images in nested containers, which takes almost as long as resizing.
        """
        import torch
        from torch.nn import functional as F
        from torchvision.transforms import RandomResizedCrop

        if self.config.resize == "fit" and self.config.crop_scale == (1.0, 1.0):
            resized = pictures.numpy()  # which has the size already
        else:
            scale = list(self.config.crop_scale)
            top, left, height, width = RandomResizedCrop.get_params(pictures, scale, _ASPECT)
            crop = pictures[..., top : top + height, left : left + width]
            size = (self.size, self.size)
            resized = F.interpolate(crop, size=size, mode="bilinear", align_corners=False, antialias=True).numpy()
        flipped = resized[..., ::-1] if torch.rand(1).item() < self.config.flip else resized
        return shifted(flipped, self.config.shift)


def shifted(pictures: np.ndarray, share: float) -> np.ndarray:
    """``[..., H, W]`` moved by up to ``share`` of each side, in whole pixels; what becomes free repeats the edge.

    Draws from torch's generator, where the share is at least a pixel.
    """
    import torch

    margins = [round(share * side) for side in pictures.shape[-2:]]
    if any(margins):
        for axis, margin in zip((-2, -1), margins, strict=True):
            pictures = moved(pictures, axis, int(torch.randint(2 * margin + 1, ())) - margin)
    return pictures


def turned(pictures: np.ndarray, degrees: float, zoom: float) -> np.ndarray:
    """``[..., C, H, W]`` rotated by up to ``degrees`` and magnified by 1 - ``zoom`` to 1 + ``zoom``.

    About the middle, bilinear, black outside of the picture. Draws from torch's generator, unless both are 0.
    """
    import torch

    if not degrees and not zoom:
        return pictures
    from scipy import ndimage  # half the time of torchvision's affine

    angle, scale = (2 * torch.rand(2).double() - 1).tolist()
    angle, scale = math.radians(degrees) * angle, 1 + zoom * scale
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    matrix = np.array([[cosine, -sine], [sine, cosine]])  # where each pixel (row, column) comes from
    middle = (np.array(pictures.shape[-2:]) - 1) / 2
    result = np.empty_like(pictures)
    for index in np.ndindex(pictures.shape[:-2]):
        ndimage.affine_transform(
            pictures[index], matrix, middle - matrix @ middle, output=result[index], order=1, mode="grid-constant"
        )
    return result

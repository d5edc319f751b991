"""Settings: the base class of every ``Config``, and the sizes that all components share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Modality = Literal["audio", "visual"]
MODALITIES: tuple[Modality, Modality] = ("audio", "visual")
OTHER: Mapping[Modality, Modality] = {"audio": "visual", "visual": "audio"}
"""The other modality of each."""
SPLITS = ("train", "validation", "test")


class ComponentConfig(BaseModel):
    """Base class of every ``Config``: frozen, without unknown keys, and without implicit conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits_64_bits(cls, value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > 63:
            raise ValueError(f"input should be a number of 64 bits, and has {value.bit_length():,}")
        return value


class ModelConfig(ComponentConfig):
    """The sizes that all components of a model share, and the memory layout. A data set may set some of them."""

    steps: int = Field(4, ge=1, le=1024, description="time steps T")
    embed_dims: int = Field(256, ge=1, le=8192, description="embedding dimension D")
    num_heads: int = Field(16, ge=1, le=1024, description="attention heads; must divide embed_dims")
    image_size: int = Field(128, ge=4, le=4096, description="height and width of both inputs in pixels")
    layout: Literal["channels-last", "channels-first"] = Field(
        "channels-last", description="order of images in memory; convolutions round differently in either"
    )

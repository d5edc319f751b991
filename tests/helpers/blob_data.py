"""A data set in memory: each class is a constant pattern, seen through noise."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from scmrl_plugins.core.interfaces import BadFileError, ComponentConfig, ModelConfig, RepairedFileWarning
from scmrl_plugins.registry import UserError, catalogue
from scmrl_plugins.registry.catalogue import Entry

if TYPE_CHECKING:
    import datasets
    import pytest

SIZES = {"train": 48, "validation": 15, "test": 18}


class Blobs:
    """Three classes; a row is a list of numbers a modality."""

    class Config(ComponentConfig):
        seed: int = Field(0, ge=0)
        spread: float = Field(0.3, ge=0, description="standard deviation of the noise")

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "model": {"steps": 2, "embed_dims": 8, "num_heads": 2, "image_size": 8},
        "train": {"epochs": 3, "batch_size": 16, "lr": 0.02, "warmup_epochs": 0, "trackers": []},
        "neuron": {"threshold": 0.3},
    }
    classes: ClassVar[tuple[str, ...]] = ("one", "two", "three")
    channels: ClassVar[Mapping[str, int]] = {"audio": 1, "visual": 2}

    def __init__(self, config: Config, model: ModelConfig) -> None:
        self.config, self.size = config, model.image_size

    def splits(self) -> datasets.DatasetDict:
        import datasets
        from row_table import row_table

        rng = np.random.default_rng(self.config.seed)
        shapes = {name: (c, self.size, self.size) for name, c in self.channels.items()}
        patterns = {name: rng.normal(size=(3, *shape)) for name, shape in shapes.items()}
        parts = {}
        for split, count in SIZES.items():
            labels = np.arange(count) % 3
            columns: dict[str, Any] = {
                name: (patterns[name][labels] + self.config.spread * rng.normal(size=(count, *shape))).tolist()
                for name, shape in shapes.items()
            }
            columns["label"] = labels.tolist()
            columns["id"] = [f"{split}-{i}" for i in range(count)]
            parts[split] = row_table(columns)
        return datasets.DatasetDict(parts)

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {
            name: np.asarray(rows[name], dtype=np.float32)
            for name in self.channels
            if rows.get(name) and rows[name][0] is not None
        }

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        given = {"audio": audio, "visual": visual}
        row: dict[str, Any] = {}
        for name, path in given.items():
            if path is not None and not path.exists():
                raise UserError(f"{path}: no such file")
            row[name] = np.load(path).tolist() if path is not None else None
        return row


def spoil(monkeypatch: pytest.MonkeyPatch, *bad: str, repaired: tuple[str, ...] = ()) -> None:
    """Make the rows with some ids bad, and have others repaired."""
    original = Blobs.transform

    def transform(blobs: Blobs, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        for name in rows["id"]:
            if name in bad:
                raise BadFileError(f"{name}.wav", "is noise; record it again")
            if name in repaired:
                warnings.warn(RepairedFileWarning(f"{name}.wav", "was loud"), stacklevel=1)
        return original(blobs, rows)

    monkeypatch.setattr(Blobs, "transform", transform)


ENTRY = Entry("dataset", "blobs", f"{__name__}:Blobs", "patterns in noise", catalogue().plugins[0])

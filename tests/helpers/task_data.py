"""A data set in memory with folds, speakers and tasks: patterns in noise, of one class each modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from blob_data import SIZES, Blobs
from pydantic import Field

from scmrl_plugins.core.interfaces import ComponentConfig, ModelConfig
from scmrl_plugins.registry import catalogue
from scmrl_plugins.registry.catalogue import Entry

if TYPE_CHECKING:
    import datasets

SPEAKERS = ("ada", "ben", "eve")


class Tasks(Blobs):
    """Three patterns a modality, the same for every seed; the task says what follows from the two.

    ``select``: the first row of the picture is bright where the class of the sound counts.
    """

    class Config(ComponentConfig):
        seed: int = Field(0, ge=0)
        fold: int = Field(0, ge=0)
        task: Literal["same", "match", "sum", "select"] = "same"
        spread: float = Field(0.3, ge=0)

    group_columns: ClassVar[Sequence[str]] = ("speaker",)

    def __init__(self, config: Config, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.classes = ("different", "same") if config.task == "match" else ("one", "two", "three")

    def transform_key(self) -> dict[str, Any]:
        return {"size": self.size}

    def splits(self) -> datasets.DatasetDict:
        import datasets
        from row_table import row_table

        shapes = {name: (c, self.size, self.size) for name, c in self.channels.items()}
        fixed = np.random.default_rng(0)
        patterns = {name: fixed.normal(size=(3, *shape)) for name, shape in shapes.items()}
        rng = np.random.default_rng([self.config.seed, self.config.fold])
        parts = {}
        for split, count in SIZES.items():
            audio = np.arange(count) % 3
            visual = audio if self.config.task == "same" else rng.permutation(audio)
            cue = rng.permutation(count) % 2 if self.config.task == "select" else np.zeros(count, int)
            labels = {
                "same": audio,
                "match": audio == visual,
                "sum": (audio + visual) % 3,
                "select": np.where(cue, audio, visual),
            }[self.config.task]
            arrays = {
                name: patterns[name][kinds] + self.config.spread * rng.normal(size=(count, *shapes[name]))
                for name, kinds in (("audio", audio), ("visual", visual))
            }
            arrays["visual"][:, :, 0] += 5 * cue[:, None, None]
            columns: dict[str, Any] = {name: x.tolist() for name, x in arrays.items()}
            columns |= {"audio_class": audio.tolist(), "visual_class": visual.tolist()}
            columns["label"] = labels.astype(int).tolist()
            columns["id"] = [f"{split}-{i}" for i in range(count)]
            columns["speaker"] = [f"{SPEAKERS[i % 2]}{self.config.fold}" for i in range(count)]
            parts[split] = row_table(columns)
        return datasets.DatasetDict(parts)


ENTRY = Entry("dataset", "tasks", f"{__name__}:Tasks", "patterns with tasks", catalogue().plugins[0])

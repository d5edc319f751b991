"""A component under test: how it is built, and what it is called with."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, Dataset, ModelConfig
from scmrl_plugins.registry import Entry, catalogue
from scmrl_plugins.registry.kinds import TABLE, Kind
from scmrl_plugins.testing.values import SEED

CLASSES = ("one", "two", "three")
CHANNELS = {"audio": 1, "visual": 2}
SIZES = ModelConfig(steps=3, embed_dims=16, num_heads=2, image_size=16)
BATCH, TOKENS = 4, 9


class Draw:
    """Random tensors of the sizes of the model around a component under test, from a separate generator."""

    def __init__(self, model: ModelConfig, seed: int, batch: int, steps: int, visual_tokens: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.steps, self.batch, self.visual_tokens = steps, batch, visual_tokens
        self.dims, self.size = model.embed_dims, model.image_size

    def normal(self, *shape: int) -> Tensor:
        """Values from a standard normal distribution."""
        return torch.randn(*shape, generator=self.generator)

    def uniform(self, *shape: int) -> Tensor:
        """Values between 0 and 1."""
        return torch.rand(*shape, generator=self.generator)

    def spikes(self, tokens: int) -> Tensor:
        """A stream ``[T, B, D, tokens]`` of 0 and 1."""
        shape = (self.steps, self.batch, self.dims, tokens)
        return torch.randint(0, 2, shape, generator=self.generator).float()


@dataclasses.dataclass(frozen=True)
class Subject:
    """A registered component, the options that it is built with, and the sizes of the model around it."""

    entry: Entry
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: ModelConfig = SIZES
    compiler: str = "aot_eager"
    """The backend of ``torch.compile``; this one needs no C++ compiler and does not change the rounding."""

    @property
    def kind(self) -> str:
        return self.entry.kind

    @property
    def row(self) -> Kind:
        """The row of its kind in the table."""
        return TABLE[self.kind]

    @property
    def cls(self) -> Any:
        return self.entry.load()

    @property
    def tags(self) -> frozenset[str]:
        """The tags of the component, built with these options."""
        return frozenset(self.build().tags if self.row.is_module else self.cls.tags)

    def __str__(self) -> str:
        name = self.entry.name if self.entry.plugin.builtin else self.entry.qualified
        return f"{self.kind}-{name}"

    def config(self) -> Any:
        """The component's configuration; a data set is configured to read its fixture."""
        config = self.cls.Config.model_validate({**self.fixture(), **self.options})
        return config if self.row.is_module else self.cls.settle(config)

    def context(self, **changes: Any) -> Context:
        """The context of a small model, whose neurons are the built-in ``lif`` with a low threshold."""
        neuron = catalogue().get("neuron", "lif").load()

        def make(**overrides: Any) -> Any:
            return neuron(neuron.Config(**{"threshold": 0.5, **overrides}))

        sizes: dict[str, Any] = {
            **self.model.model_dump(exclude={"layout"}),
            "num_classes": len(CLASSES),
            "channels": CHANNELS,
            "neuron": make,
            "modality": "audio" if self.row.per_modality else None,
        }
        return Context(**(sizes | changes))

    def build(self, *, seed: int = SEED, config: Any = None, **changes: Any) -> Any:
        """The component, with weights drawn under the seed; keywords change the context."""
        config = self.config() if config is None else config
        if not self.row.is_module:
            return self.cls(config, self.model)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.cls(config, self.context(**changes))

    def inputs(
        self, *, seed: int = SEED, batch: int = BATCH, steps: int | None = None, visual_tokens: int = TOKENS
    ) -> tuple[Any, ...]:
        """What a component of the kind is called with, drawn at random."""
        draw = Draw(self.model, seed, batch, self.model.steps if steps is None else steps, visual_tokens)
        checks: Any = importlib.import_module(self.row.checks)
        return checks.inputs(draw)

    def fixture(self) -> Mapping[str, Any]:
        """The options that read the fixture of a data set, written once per process; empty for other kinds."""
        return {} if self.row.is_module else _fixture(self.cls)

    def sections(self, name: str | None = None) -> dict[str, Any]:
        """Sections of a configuration for a model with this component."""
        section = {"name": name or self.entry.qualified, **self.config().model_dump(exclude_none=True)}
        if self.row.repeats:  # beside one that always has a gradient
            return {"model": self.model.model_dump(), **self.cls.example, self.kind: [{"name": "ce"}, section]}
        sections: dict[str, Any] = {"model": self.model.model_dump(), "neuron": {"name": "lif", "threshold": 0.5}}
        if self.kind in ("neuron", "encoder", "dataset"):  # which a fusion does not depend on: the fewest layers
            sections["fusion"] = {"name": "late"}
        return sections | {self.kind: section}


@functools.cache
def _fixture(cls: Any) -> Mapping[str, Any]:
    if cls.fixture is Dataset.fixture:
        return {}
    folder = tempfile.TemporaryDirectory(prefix="scmrl-fixture-")
    atexit.register(folder.cleanup)
    return dict(cls.fixture(Path(folder.name)))

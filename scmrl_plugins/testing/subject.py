"""A component under test: how it is built, what it is called with, and what of the result is compared."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.interfaces import Context, Dataset, Fused, ModelConfig, ModelOutput
from scmrl_plugins.registry import Catalogue, Entry, UserError, catalogue
from scmrl_plugins.registry.errors import near

CLASSES = ("one", "two", "three")
CHANNELS = {"audio": 1, "visual": 2}
SIZES = ModelConfig(steps=3, embed_dims=16, num_heads=2, image_size=16)
BATCH, TOKENS = 4, 9
SEED = 0


@dataclasses.dataclass(frozen=True)
class Subject:
    """A registered component, the options to build it with, and the sizes of the model around it."""

    entry: Entry
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: ModelConfig = SIZES
    compiler: str = "aot_eager"
    """The backend of ``torch.compile``; this one needs no compiler of C++ and changes no rounding."""

    @property
    def kind(self) -> str:
        return self.entry.kind

    @property
    def cls(self) -> Any:
        return self.entry.load()

    @property
    def tags(self) -> frozenset[str]:
        """What the component declares, as built with these options."""
        return frozenset(self.cls.tags if self.kind == "dataset" else self.build().tags)

    def __str__(self) -> str:
        name = self.entry.name if self.entry.plugin.builtin else self.entry.qualified
        return f"{self.kind}-{name}"

    def config(self) -> Any:
        """The component's configuration; that of a data set reads its fixture."""
        config = self.cls.Config.model_validate({**self.fixture(), **self.options})
        return self.cls.settle(config) if self.kind == "dataset" else config

    def context(self, **changes: Any) -> Context:
        """The context of a small model; its neurons are the built-in ``lif``, easily excited."""
        neuron = catalogue().get("neuron", "lif").load()

        def make(**overrides: Any) -> Any:
            return neuron(neuron.Config(**{"threshold": 0.5, **overrides}))

        sizes: dict[str, Any] = {
            **self.model.model_dump(exclude={"layout"}),
            "num_classes": len(CLASSES),
            "channels": CHANNELS,
            "neuron": make,
            "modality": "audio" if self.kind in ("encoder", "backbone") else None,
        }
        return Context(**(sizes | changes))

    def build(self, *, seed: int = SEED, config: Any = None, **changes: Any) -> Any:
        """The component, its weights drawn under the seed; keywords change the context."""
        config = self.config() if config is None else config
        if self.kind == "dataset":
            return self.cls(config, self.model)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.cls(config, self.context(**changes))

    def inputs(
        self, *, seed: int = SEED, batch: int = BATCH, steps: int | None = None, visual_tokens: int = TOKENS
    ) -> tuple[Any, ...]:
        """What a component of the kind is called with; streams are spikes, for losses the classes repeat."""
        draw = torch.Generator().manual_seed(seed)
        t = self.model.steps if steps is None else steps
        d, size = self.model.embed_dims, self.model.image_size

        def spikes(tokens: int) -> Tensor:
            return torch.randint(0, 2, (t, batch, d, tokens), generator=draw).float()

        if self.kind == "neuron":
            return (3 * torch.randn(t, batch, d, TOKENS, generator=draw),)
        if self.kind == "encoder":
            return (torch.randn(batch, 1, size, size, generator=draw),)
        if self.kind == "backbone":
            return (torch.randn(t, batch, 1, size, size, generator=draw),)
        if self.kind == "fusion":
            return (spikes(TOKENS), spikes(visual_tokens))
        if self.kind == "readout":
            residuals = {"audio": spikes(TOKENS), "visual": spikes(visual_tokens)}
            return (Fused(spikes(TOKENS), spikes(visual_tokens), residuals),)
        aligned = {name: torch.randn(t, batch, d, generator=draw) for name in CHANNELS}
        heads = {name: torch.randn(batch, len(CLASSES), generator=draw) for name in CHANNELS}
        step_logits = torch.randn(t, batch, len(CLASSES), generator=draw)
        share = torch.rand(batch, generator=draw)
        output = ModelOutput(
            step_logits.mean(0),
            heads,
            aligned,
            step_logits,
            {"audio": share, "visual": 1 - share},
            torch.rand(5, generator=draw),
        )
        return (output, torch.arange(batch) % len(CLASSES))

    def fixture(self) -> Mapping[str, Any]:
        """The options that read a data set's miniature, written once a process; nothing for other kinds."""
        return _fixture(self.cls) if self.kind == "dataset" else {}

    def sections(self, name: str | None = None) -> dict[str, Any]:
        """Sections of a configuration whose model has this component in it."""
        section = {"name": name or self.entry.qualified, **self.config().model_dump(exclude_none=True)}
        if self.kind == "loss":  # beside one that always has a gradient
            example = dict(self.cls.example)
            return {"model": self.model.model_dump(), **example, "loss": [{"name": "ce"}, section]}
        sections: dict[str, Any] = {"model": self.model.model_dump(), "neuron": {"name": "lif", "threshold": 0.5}}
        return sections | {self.kind: section}


@functools.cache
def _fixture(cls: Any) -> Mapping[str, Any]:
    if cls.fixture is Dataset.fixture:
        return {}
    folder = tempfile.TemporaryDirectory(prefix="scmrl-fixture-")
    atexit.register(folder.cleanup)
    return dict(cls.fixture(Path(folder.name)))


def call(component: Any, inputs: tuple[Any, ...], seed: int = SEED) -> dict[str, Tensor]:
    """The named tensors that a component returns, drawn under the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return tensors(component(*inputs))


def tensors(value: Any, name: str = "output") -> dict[str, Tensor]:
    """Every tensor in what a component returned, by where it is."""
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, Fused | ModelOutput):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        inner = {key: item for key, item in value.items() if item is not None}
        return {path: t for key, item in inner.items() for path, t in tensors(item, f"{name}.{key}").items()}
    raise AssertionError(f"{name} is {type(value).__name__}, and tensors are asked for")


def convert(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same inputs with every tensor changed; integers, which are labels, stay as they are."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Fused | ModelOutput):
        fields = {field.name: convert(getattr(value, field.name), change) for field in dataclasses.fields(value)}
        return type(value)(**fields)
    if isinstance(value, Mapping):
        return {key: convert(item, change) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(convert(item, change) for item in value)
    return value


def find(name: str) -> list[Entry]:
    """Every component of a bare or ``plugin:name`` name, of whatever kind; ``UserError`` for an unknown one."""
    entries = catalogue().entries
    found = [entry for entry in entries if name in (entry.name, entry.qualified)]
    if not found:
        known = sorted({word for entry in entries for word in (entry.name, entry.qualified)})
        broken = ", ".join(sorted({broken.name for broken in catalogue().broken}))
        failed = f"; plugins with problems: {broken} (scmrl plugins says why)" if broken else ""
        raise UserError(f"no component {name!r}{near(name, known) or '; scmrl plugins lists them'}{failed}")
    return found


def of_package(distribution: str) -> list[Entry]:
    """Every component of a distribution or plugin; ``UserError`` where none is installed or none works."""
    found: Catalogue = catalogue()
    wanted = distribution.replace("_", "-").lower()

    def same(*names: str) -> bool:
        return wanted in {name.replace("_", "-").lower() for name in names}

    entries = [entry for entry in found.entries if same(entry.plugin.name, entry.plugin.distribution)]
    if not entries:
        if failed := [broken.error for broken in found.broken if same(broken.name, broken.distribution)]:
            raise UserError(f"{distribution}: {failed[0]}")
        known = {name for plugin in found.plugins for name in (plugin.name, plugin.distribution)}
        raise UserError(f"no plugin of {distribution!r} is installed{near(distribution, known)}")
    return entries

"""The kinds of component. What a kind is stands in this table alone, and everything else reads it from here.

To add a kind, add its row, its base class, its module of conformance checks, and its two templates
(``scaffold/templates/kinds`` and ``scaffold/templates/tests``), and call its components in
``core/model/assembly.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of component."""

    name: str
    base: str
    """Base class with its defaults, ``module:attribute``, whose docstring says what a component is called with."""
    default: str | None = None
    """The component where the configuration names none; of a kind that repeats the fusion block names them."""
    repeats: bool = False
    """Whether a model has a list of them, ``[[loss]]`` in a configuration, and not just one."""
    is_module: bool = True
    """Whether it is a torch module, built as ``Component(config, context)``; else ``Component(config, model)``."""
    per_modality: bool = False
    """Whether a model has one instance a modality."""
    options: str = "--{kind} {name}"
    """The options of ``scmrl train`` that choose a component."""

    @property
    def plural(self) -> str:
        return f"{self.name}es" if self.name.endswith("s") else f"{self.name}s"

    @property
    def checks(self) -> str:
        """Module of its conformance checks, with ``inputs(draw)``, what a component under test is called with."""
        return f"scmrl_plugins.testing.kinds.{self.name}"


_CORE = "scmrl_plugins.core.interfaces"

TABLE: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("neuron", f"{_CORE}:Neuron", "lif"),
        Kind("encoder", f"{_CORE}:Encoder", "direct", per_modality=True),
        Kind("backbone", f"{_CORE}:Backbone", "spikformer", per_modality=True),
        Kind("fusion", f"{_CORE}:Fusion", "cmrl"),
        Kind("readout", f"{_CORE}:Readout", "add"),
        Kind("loss", f"{_CORE}:Loss", repeats=True, options="--loss ce --loss {name}"),
        Kind(
            "dataset",
            f"{_CORE}:Dataset",
            "av-digits",
            is_module=False,
            options="--dataset {name} --set dataset.root=DIR",
        ),
    )
}
"""Every kind by its name."""

KINDS = tuple(TABLE)
"""The names of the kinds, in the order in which they are listed."""

MODULES = tuple(kind.name for kind in TABLE.values() if kind.is_module)
"""The kinds that are torch modules."""

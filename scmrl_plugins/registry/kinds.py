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
    checks: str
    """Module of the conformance checks, with ``inputs(subject)``: what a component under test is called with."""
    default: str | None = None
    """The component where the configuration names none; of a kind that repeats the fusion block names them."""
    repeats: bool = False
    """Whether a model has a list of them, ``[[loss]]`` in a configuration, and not just one."""
    is_module: bool = True
    """Whether it is a torch module, built as ``Component(config, context)``; else ``Component(config, model)``."""
    modalities: bool = False
    """Whether a model has one instance a modality."""
    options: str = "--{kind} {name}"
    """The options of ``scmrl train`` that choose a component."""


_CORE, _CHECKS = "scmrl_plugins.core.interfaces", "scmrl_plugins.testing"

TABLE: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("neuron", f"{_CORE}:Neuron", f"{_CHECKS}.neurons", "lif"),
        Kind("encoder", f"{_CORE}:Encoder", f"{_CHECKS}.encoders", "direct", modalities=True),
        Kind("backbone", f"{_CORE}:Backbone", f"{_CHECKS}.backbones", "spikformer", modalities=True),
        Kind("fusion", f"{_CORE}:Fusion", f"{_CHECKS}.fusions", "cmrl"),
        Kind("readout", f"{_CORE}:Readout", f"{_CHECKS}.readouts", "add"),
        Kind("loss", f"{_CORE}:Loss", f"{_CHECKS}.losses", repeats=True, options="--loss ce --loss {name}"),
        Kind(
            "dataset",
            f"{_CORE}:Dataset",
            f"{_CHECKS}.datasets",
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

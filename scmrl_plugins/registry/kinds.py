"""The table of kinds of component, from which everything that depends on a kind derives.

To add a kind, add a row, a base class in ``core/interfaces``, a module of conformance checks in ``testing/kinds``,
and templates in ``scaffold/templates``; then use its components in ``core/model/assembly.py``. The sections of
configurations, the options of commands, ``scmrl plugins``, the documents and the conformance kit follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of component."""

    name: str
    base: str
    """The base class, ``module:attribute``. The first line of its docstring is the call of a component."""
    default: str = ""
    """The component if the configuration names none. Empty for a kind that repeats: the fusion block decides."""
    repeats: bool = False
    """Whether a model has a list of them, ``[[loss]]`` in a configuration, instead of exactly one."""
    is_module: bool = True
    """Whether it is a torch module built as ``Component(config, context)``; else ``Component(config, model)``."""
    in_model: bool = True
    """Whether a model, or its loss, is computed with it."""
    before: str = ""
    """The component of runs that were made before there was this kind; empty for a kind that every run has."""
    probe: str = "check_works_in_a_model"
    """The conformance check that shows whether a component runs at all."""
    per_modality: bool = False
    """Whether a model has an instance for each modality."""
    usage: str = "--{kind} {name}"
    """The options of ``scmrl train`` that select a component."""

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
        Kind("loss", f"{_CORE}:Loss", repeats=True, usage="--loss ce --loss {name}"),
        Kind(
            "dataset",
            f"{_CORE}:Dataset",
            "av-digits",
            is_module=False,
            in_model=False,
            probe="check_building_touches_no_file",
            usage="--dataset {name} --set dataset.root=DIR",
        ),
        Kind(
            "modulation",
            f"{_CORE}:Modulation",
            "none",
            in_model=False,
            before="none",
            probe="check_takes_training_steps",
        ),
    )
}
"""Every kind by its name."""

KINDS = tuple(TABLE)
"""The names of the kinds, in the order in which they are listed."""

MODULES = tuple(kind.name for kind in TABLE.values() if kind.in_model)
"""The kinds that are torch modules of a model or its loss."""

"""The figures of a report: one function for each, declared by ``@figure`` in the order of the page."""

from scmrl_plugins.explain.figures import (  # noqa: F401, I001  in the order of the page
    results,
    modalities,
    layers,
    samples,
    space,
    robustness,
    costs,
)
from scmrl_plugins.explain.figures.declare import FIGURES, SECTIONS

__all__ = ["FIGURES", "SECTIONS"]

"""The conformance kit: what every component promises, as checks that its author runs.

``scmrl check NAME`` runs them from a shell, ``parametrize_with_checks`` in pytest. A check is a plain function of
a ``Subject``; ``CHECKS`` lists them by name.
"""

from scmrl_plugins.testing import datasets, encoders, every, losses, neurons, saving, streams
from scmrl_plugins.testing.checks import CHECKS, Check, NotApplicableError, check
from scmrl_plugins.testing.running import Result, checks_for, parametrize_with_checks, probe, run_checks, subjects
from scmrl_plugins.testing.subject import Subject

__all__ = [
    "CHECKS",
    "Check",
    "NotApplicableError",
    "Result",
    "Subject",
    "check",
    "checks_for",
    "datasets",
    "encoders",
    "every",
    "losses",
    "neurons",
    "parametrize_with_checks",
    "probe",
    "run_checks",
    "saving",
    "streams",
    "subjects",
]

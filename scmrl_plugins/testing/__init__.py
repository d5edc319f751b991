"""The conformance kit: checks of what every component promises, which its author runs.

``scmrl check NAME`` runs them from a shell, ``parametrize_with_checks`` in pytest. A check is a plain function of
a ``Subject``; ``CHECKS`` lists them by name.
"""

import importlib

from scmrl_plugins.registry.kinds import TABLE
from scmrl_plugins.testing import modules, registration, saving, settings
from scmrl_plugins.testing.checks import CHECKS, Check, NotApplicableError, check
from scmrl_plugins.testing.running import Result, checks_for, parametrize_with_checks, probe, run_checks
from scmrl_plugins.testing.selection import subjects
from scmrl_plugins.testing.subject import Subject

for _kind in TABLE.values():
    importlib.import_module(_kind.checks)

__all__ = [
    "CHECKS",
    "Check",
    "NotApplicableError",
    "Result",
    "Subject",
    "check",
    "checks_for",
    "modules",
    "parametrize_with_checks",
    "probe",
    "registration",
    "run_checks",
    "saving",
    "settings",
    "subjects",
]

"""What a report knows of a run: its files, and what was measured for it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.explain.shorten import bounded, excerpt
from scmrl_plugins.registry import UserError, catalogue

if TYPE_CHECKING:
    from scmrl_plugins.explain.measured import Measured

EPOCHS = 400
"""Epochs that a page shows, evenly spaced where there are more."""
DIRECTIONS = 4
"""Directions of a fusion, of which there are two."""
DAMAGED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading values of other types than training writes raises."""


@dataclass
class Facts:
    """A trained run: lines of ``metrics.jsonl``, configuration and environment, with names shortened.

    ``epochs`` are the lines of the epochs, ``test`` that of the test split; ``measured`` is none in the report at
    the end of a training, or where the run cannot be measured, for the reason in ``unmeasured``.
    """

    run: Run
    config: ExperimentConfig
    epochs: Sequence[Mapping[str, Any]]
    test: Mapping[str, Any]
    environment: Mapping[str, Any]
    measured: Measured | None = None
    unmeasured: str = ""
    omitted: list[str] = field(default_factory=list)
    """Figures that are left out, with the reason."""

    @property
    def chooser(self) -> str:
        """The split that chose the best epoch."""
        return "test" if self.test["protocol"] == "published" else "validation"

    @property
    def classes(self) -> list[str]:
        """The names of the classes that occur in the test split."""
        return list(self.test["per_class"])

    @property
    def contribution(self) -> Mapping[str, Any] | None:
        """The cross-modal contribution on the test split, as the training measured it, or for the report."""
        recorded: Mapping[str, Any] | None = self.test.get("contribution")
        if recorded is not None:
            return dict(itertools.islice(recorded.items(), DIRECTIONS))
        return self.measured.contribution if self.measured else None

    @property
    def tags(self) -> frozenset[str]:
        """The tags of the neuron."""
        neuron: Any = catalogue().get("neuron", self.config.neuron.name).load()
        return frozenset(neuron.tags)

    @property
    def title(self) -> str:
        kinds = self.config.kinds()
        return f"{kinds['dataset']}: {kinds['fusion']} with {kinds['neuron']}"

    @property
    def config_text(self) -> str:
        return excerpt(files.read_text(self.run.config_file))

    @property
    def command(self) -> str:
        """The command that trains such a run again."""
        plugins = [
            f" --plugin {shlex.quote(plugin['file'])}"
            for plugin in self.environment.get("plugins", [])
            if isinstance(plugin, Mapping) and str(plugin.get("file", "")).isprintable() and plugin.get("file")
        ]
        return f"scmrl train -c {shlex.quote(str(self.run.config_file))}{''.join(plugins)} -o NEW-RUN"


def facts(run: Run) -> Facts:
    """The facts in a run's files; ``UserError`` if it has no test result yet, or a file is damaged."""
    lines = run.metrics()
    tested = [line for line in lines if line.get("split") == "test"]
    if not tested:
        raise UserError(f"{run.path}: not trained to the end yet; resume it with scmrl train {run.path}")
    epochs = [line for line in lines if "epoch" in line]
    if len(epochs) > EPOCHS:
        epochs = [epochs[(index + 1) * len(epochs) // EPOCHS - 1] for index in range(EPOCHS)]
    environment = files.read_json(run.path / "environment.json")
    try:
        return Facts(run, run.config(), bounded(epochs), bounded(tested[-1]), dict(bounded(environment)))
    except DAMAGED as error:
        raise damaged(run, error) from None


def damaged(run: Run, error: Exception) -> UserError:
    """What to do about values that no training writes."""
    return UserError(
        f"{run.path}: its metrics or environment are damaged ({type(error).__name__}: {str(error)[:200]}); "
        f"restore them, or train again"
    )

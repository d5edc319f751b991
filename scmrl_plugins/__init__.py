"""Audio-visual spiking neural networks from plugins.

``build(config)`` assembles a model, ``train(config, run)`` trains one, ``load(run)`` loads it, ``hookimpl`` marks
a plugin's hook, and ``INTERFACE_VERSION`` is the version of the plugin interface. Importing this package does not
import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scmrl_plugins.registry import INTERFACE_VERSION, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scmrl_plugins.core.config.sections import ExperimentConfig
    from scmrl_plugins.core.evaluation.evaluate import Evaluation
    from scmrl_plugins.core.model.audio_visual import AudioVisualModel

__version__ = "0.1.0"
__all__ = ["INTERFACE_VERSION", "__version__", "build", "hookimpl", "load", "train"]


def build(config: ExperimentConfig | Mapping[str, Any] | str | Path | None = None) -> AudioVisualModel:
    """Assemble the model that a configuration describes, with freshly initialised weights.

    ``config`` is a mapping of sections as in a TOML file, the path of such a file, a validated
    ``ExperimentConfig``, or ``None`` for the defaults. Raises ``UserError`` if it is invalid.
    """
    from scmrl_plugins.core.config import layers
    from scmrl_plugins.core.model import assembly

    return assembly.assemble(layers.as_config(config)).model


def train(
    config: ExperimentConfig | Mapping[str, Any] | str | Path | None, run: str | Path, device: str = "auto"
) -> Evaluation:
    """Train the model that a configuration describes, in a new run directory; ``scmrl explain`` shows it.

    ``config`` as in ``build``; ``device`` is ``auto``, ``cpu``, ``cuda`` or ``mps``. Returns the evaluation on the
    test split: ``metrics``, ``n``, ``interval``, ``predictions``. Raises ``UserError`` for an invalid
    configuration, unusable data, or a directory that is not empty.
    """
    from scmrl_plugins.core.config import layers
    from scmrl_plugins.core.model import assembly
    from scmrl_plugins.core.run.directory import create_run
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.core.system.progress import Progress
    from scmrl_plugins.core.training import loop

    parts = assembly.assemble(layers.as_config(config))
    created = create_run(run, parts)
    with Progress() as progress:
        return loop.train(created, parts, devices.resolve(device), progress)


def load(run: str | Path) -> AudioVisualModel:
    """Load the model of a run directory with its saved weights, in evaluation mode."""
    from scmrl_plugins.core.run.directory import open_run

    return open_run(run).load_model()

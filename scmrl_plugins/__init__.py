"""Audio-visual spiking neural networks from plugins.

``build(config)`` assembles a model, ``load(run)`` loads a trained one, ``hookimpl`` marks a plugin's hook, and
``INTERFACE_VERSION`` is the version of the plugin interface. Importing this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scmrl_plugins.registry import INTERFACE_VERSION, hookimpl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scmrl_plugins.core.config.sections import ExperimentConfig
    from scmrl_plugins.core.model.audio_visual import AudioVisualModel

__version__ = "0.1.0"
__all__ = ["INTERFACE_VERSION", "__version__", "build", "hookimpl", "load"]


def build(config: ExperimentConfig | Mapping[str, Any] | str | Path | None = None) -> AudioVisualModel:
    """Assemble the model that a configuration describes, with freshly initialised weights.

    ``config`` is a mapping of sections as in a TOML file, the path of such a file, a validated
    ``ExperimentConfig``, or ``None`` for the defaults. Raises ``UserError`` if it is invalid.
    """
    from scmrl_plugins.core.config import layers
    from scmrl_plugins.core.model import assembly

    return assembly.assemble(layers.as_config(config)).model


def load(run: str | Path) -> AudioVisualModel:
    """Load the model of a run directory with its saved weights, in evaluation mode."""
    from scmrl_plugins.core.run.directory import open_run

    return open_run(run).load_model()

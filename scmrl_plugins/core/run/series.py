"""Series of runs, as grids and sweeps make them: their files, their results, and runs to resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from scmrl_plugins.core.config.completion import complete
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.messages import explain
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run, open_run
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError


def divide(layers: list[Layer], sections: Collection[str]) -> tuple[list[Layer], list[Layer]]:
    """The layers without these sections (the configuration), and the layers with only these sections."""

    def part(layer: Layer, inside: bool) -> Layer:
        data = {key: value for key, value in layer.data.items() if (key in sections) == inside}
        return Layer(layer.source, data)

    return [part(layer, False) for layer in layers], [part(layer, True) for layer in layers]


def checked(model: type[BaseModel], data: Any, source: str | Path, where: str) -> Any:
    """``data`` validated as a ``model``; ``UserError`` names the source and the key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error, model, where, {})}") from None


def plain(config: ExperimentConfig) -> dict[str, Any]:
    """A configuration in the form that JSON restores, for comparisons."""
    return _plain(config.model_dump())


def plain_run(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run in the same form, with the settings that came after the run."""
    return _plain(complete(config))


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(files.to_json(data)))


def read_result(file: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """The result in a file; none if there is no file.

    Raises ``UserError`` if it is not a result, or was made with another configuration.
    """
    if not file.exists():
        return None
    result = files.read_json(file)
    if not isinstance(result, dict) or not isinstance(result.get("config"), dict):
        raise UserError(f"{file}: not a result; remove it to make it again")
    if plain_run(result["config"]) != config:
        raise UserError(f"{file}: made with another configuration; choose another directory with -o")
    return dict(result)


def take_run(path: Path, parts: Assembly) -> Run:
    """The run at ``path``, created if it does not exist; ``UserError`` if it has another configuration."""
    if (path / "config.toml").is_file():
        run = open_run(path)
        if plain(run.config()) != plain(parts.config):
            raise UserError(f"{path}: made with another configuration; choose another directory with -o")
        return run
    if path.is_dir():  # left by a process that was stopped before it wrote config.toml, which is last
        shutil.rmtree(path)
    return create_run(path, parts)

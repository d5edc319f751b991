"""What grids and sweeps share: files with further sections beside a configuration's, and runs to go on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from scmrl_plugins.core.config.layers import Layer, explain, to_toml
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run, open_run
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError


def divide(layers: list[Layer], own: Collection[str]) -> tuple[list[Layer], list[Layer]]:
    """Layers of the configuration, and layers of the sections that are not the configuration's."""

    def part(layer: Layer, wanted: bool) -> Layer:
        return Layer(layer.source, {key: value for key, value in layer.data.items() if (key in own) == wanted})

    return [part(layer, False) for layer in layers], [part(layer, True) for layer in layers]


def checked(model: type[BaseModel], data: Any, source: str | Path, where: str) -> Any:
    """``data`` as that model; ``UserError`` in one line that names the source and the key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error, model, where, {})}") from None


def plain(config: ExperimentConfig) -> dict[str, Any]:
    """A configuration as JSON gives it back, to be written and compared."""
    return dict(json.loads(files.to_json(config.model_dump())))


def read_result(file: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """The result in a file, made with that configuration; none where there is no file.

    Raises ``UserError`` for one that is no result, or was made with another configuration.
    """
    if not file.exists():
        return None
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not a result ({error}); remove it to have it made again") from None
    if known["config"] != config:
        raise UserError(f"{file}: made with another configuration; choose another directory with -o")
    return dict(known)


def take_run(path: Path, parts: Assembly) -> Run:
    """The run at ``path``, made where it is not there; ``UserError`` where it has another configuration."""
    if (path / "config.toml").is_file():
        run = open_run(path)
        if run.config_file.read_text(encoding="utf-8") != to_toml(parts.config):
            raise UserError(f"{path}: made with another configuration; choose another directory with -o")
        return run
    if path.is_dir():  # a run that was stopped while it was made: config.toml is written last
        shutil.rmtree(path)
    return create_run(path, parts)

"""What a sweep does before its first trial: check every configuration, and store the features once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scmrl_plugins.core.data.prepare import prepare
from scmrl_plugins.core.data.store import transform_settings
from scmrl_plugins.core.model.assembly import assemble, build_dataset
from scmrl_plugins.core.run import series
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import UserError
from scmrl_plugins.sweep.directory import SweepDirectory
from scmrl_plugins.sweep.sweep import Trial, settings_text


def check(trials: Sequence[Trial], progress: Progress) -> list[dict[str, Any]]:
    """The configuration of every trial with all defaults.

    Raises ``UserError`` for a trial that cannot be assembled, so that a mistake in the last one is reported before
    the first is trained.
    """
    progress.stage("checking the trials", len(trials))
    configs = []
    for trial in trials:
        try:
            configs.append(series.plain(assemble(trial.config).config))
        except UserError as error:
            raise UserError(f"{trial.name} ({settings_text(trial.settings)}): {error}") from error.__cause__
        progress.advance()
    return configs


def prepare_data(trials: Sequence[Trial], directory: SweepDirectory, progress: Progress) -> None:
    """Store the features of trials that have no result, so that two trials do not compute the same."""
    prepared: set[str] = set()
    for trial in trials:
        if directory.result_file(trial.name).exists():
            continue
        dataset, config = build_dataset(trial.config)
        needed = [config.dataset.model_dump(), transform_settings(dataset, config)]
        key = json.dumps(needed, sort_keys=True, default=str)
        if key not in prepared:
            prepared.add(key)
            prepare(dataset, config, progress=progress)

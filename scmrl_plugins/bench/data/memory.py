"""Memory use of loading stored features, each measurement in a separate process."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scmrl_plugins.bench.data.loading import Loading, store, training_rows
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model.assembly import build_dataset
from scmrl_plugins.core.system.child import Child
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.registry import catalogue, register_file


def measure(config: ExperimentConfig, cases: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """``Loader.memory`` for each number of samples and of epochs, side by side; ``UserError`` if one fails."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        plugins = catalogue().inline_files()
        children = [stack.enter_context(Child("data loading", Loader, config, plugins)) for _ in cases]
        calls = [pool.submit(child.call, "memory", *case) for child, case in zip(children, cases, strict=True)]
        return [call.result() for call in calls]


class Loader:
    """The data set of a configuration, in the process that is measured."""

    def __init__(self, config: ExperimentConfig, plugins: Sequence[str]) -> None:
        for file in plugins:
            register_file(file)
        self.dataset, self.config = build_dataset(config)

    def memory(self, samples: int, epochs: int) -> dict[str, Any]:
        """Bytes that the process has to itself ``before`` it loads the first batch, and their peak, ``private``.

        Mapped pages of the stored files, ``stored`` bytes in all, are not counted: the system reclaims them at
        will. ``None`` if the system does not report it.
        """
        rows = training_rows(self.dataset, self.config, samples)
        split = store(self.dataset, self.config, rows, Progress.silent())
        before, loading = _private(), Loading(split, self.config)
        measured = [_private() for epoch in range(epochs) for _ in loading.epoch(epoch)]
        stored = sum(Path(file["filename"]).stat().st_size for file in split.rows.cache_files)
        peak = max((size for size in measured if size is not None), default=None)
        return {"samples": len(split), "stored": stored, "before": before, "private": peak}


def _private() -> int | None:
    """Anonymous resident memory of this process."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    match = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(match[1]) if match else None

"""Some samples of a test split."""

from __future__ import annotations

from scmrl_plugins.core.data.prepare import feature_store, prepare
from scmrl_plugins.core.data.split import FeatureSplit
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.system.progress import Progress


def samples_of_test(parts: Assembly, n: int, progress: Progress, few: int = 64) -> tuple[FeatureSplit, int]:
    """Up to n samples of the test split, evenly spaced, and how many there are.

    Where features are not stored, only those of these samples are computed, and of ``few`` at most.
    """
    rows = dict(parts.dataset.splits())
    store = feature_store(parts.dataset, parts.config, "test", rows)
    status = store.status()
    if status.total is None or status.stored == status.total:
        split = prepare(parts.dataset, parts.config, ["test"], rows=rows, progress=progress).splits["test"]
        return split.subset(spread(len(split), n)), len(split)
    some = {"test": rows["test"].select(spread(status.total, min(n, few)))}
    split = prepare(parts.dataset, parts.config, ["test"], rows=some, progress=progress, on_bad="skip").splits[
        "test"
    ]
    return split, status.total


def spread(total: int, n: int) -> list[int]:
    """Up to n indices of ``total``, evenly spaced."""
    count = min(n, total)
    return [(2 * index + 1) * total // (2 * count) for index in range(count)]

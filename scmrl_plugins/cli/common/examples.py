"""A pair of files from the test split, to try ``predict`` on."""

from __future__ import annotations

from pathlib import Path

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run


def write_examples(run: Run, parts: Assembly, index: int = 0) -> tuple[Path, Path]:
    """Write the recording and the image of a test sample into ``examples/`` of the run."""
    row = parts.dataset.splits()["test"][index]
    label = parts.dataset.classes[row["label"]]
    written = []
    for column, ending in (("audio", "wav"), ("visual", "png")):
        path = run.path / "examples" / f"{label}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(row[column]["bytes"])
        written.append(path)
    return written[0], written[1]

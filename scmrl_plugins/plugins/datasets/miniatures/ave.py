"""A miniature of AVE."""

from __future__ import annotations

from pathlib import Path

from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip

CATEGORIES = ("Church bell", "Male speech, man speaking", "Frying (food)", "Bark")
HEADING = "Category&VideoID&Quality&StartTime&EndTime"
COUNTS = {"trainSet.txt": 3, "valSet.txt": 1, "testSet.txt": 1}


def write_ave(root: Path) -> None:
    """``AVE/<id>.mp4``, the three lists without a heading, and ``Annotations.txt`` with one, as in the zip."""
    lines: dict[str, list[str]] = {name: [] for name in COUNTS}
    number = 0
    for category in CATEGORIES:
        for name, count in COUNTS.items():
            for _ in range(count):
                video = f"-a_{number:08d}"
                write_clip(root / "AVE" / f"{video}.mp4", number)
                lines[name].append(f"{category}&{video}&good&0&{10 - number % 3}")
                number += 1
    for name, rows in lines.items():
        (root / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    everything = [HEADING, *(row for rows in lines.values() for row in rows)]
    (root / "Annotations.txt").write_text("\n".join(everything) + "\n", encoding="utf-8")

"""A miniature of RAVDESS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip

ACTORS = ("01", "02", "17", "24")


def write_ravdess(root: Path, actors: Sequence[str] = ACTORS, emotions: int = 8) -> None:
    """``Actor_NN/``: a take of each emotion with picture and sound (01), and as 02, which is not looked into."""
    for actor in actors:
        for emotion in range(1, emotions + 1):
            take = f"01-{emotion:02d}-01-01-01-{actor}"
            path = root / f"Actor_{actor}" / f"01-{take}.mp4"
            write_clip(path, 8 * int(actor) + emotion)
            path.with_name(f"02-{take}.mp4").touch()

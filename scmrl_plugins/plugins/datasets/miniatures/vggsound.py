"""A miniature of VGGSound."""

from __future__ import annotations

from pathlib import Path

from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip

LABELS = ("playing acoustic guitar", "railroad car, train wagon", "dog barking")


def write_vggsound(root: Path) -> None:
    """``vggsound.csv``, with quotes where a label has a comma, and ``video/<id>_<start>.mp4``."""
    lines = []
    for label, name in enumerate(LABELS):
        quoted = f'"{name}"' if "," in name else name
        for index in range(8):
            # Two videos of each class have two clips.
            video = f"-v{label:01d}_{max(index // 2, index - 2):07d}"
            start = 7 + 30 * (index % 2) + index
            write_clip(root / "video" / f"{video}_{start:06d}.mp4", 8 * label + index)
            lines.append(f"{video},{start},{quoted},{'test' if index > 5 else 'train'}")
    (root / "vggsound.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

"""What only the content of clips tells, by ``scmrl data check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from paths import REAL
from PIL import Image
from planted_files import scmrl, sets

from scmrl_plugins.core.interfaces import Contents, ModelConfig
from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
from scmrl_plugins.plugins.datasets.miniatures.clips import write_clip
from scmrl_plugins.plugins.datasets.miniatures.digits import tone


def inspected(audio: Path, visual: Path | None = None, **options: Any) -> Contents:
    dataset = AVFolder(AVFolder.Config(**options), ModelConfig(image_size=16, steps=2))
    cells = {"audio": audio, "visual": visual or audio}
    return dataset.inspect({name: {"bytes": None, "path": str(path)} for name, path in cells.items()})


def test_durations_rates_and_size(tmp_path: Path) -> None:
    found = inspected(write_clip(tmp_path / "a.mp4", 1, frames=12, rate=12, size=(48, 32)))
    assert found.seconds["visual"] == pytest.approx(1.0, abs=0.01)
    assert found.seconds["audio"] == pytest.approx(1.0, abs=0.1)  # AAC fills its last frame
    assert (found.sample_rate, found.size, found.notes) == (16_000, (48, 32), ())
    assert found.frame_rate == pytest.approx(12.0, abs=0.01)


def test_a_sound_beside_a_picture(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300, 8000, 0.5), 8000)
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "black.png")
    grey, black = (inspected(tmp_path / "a.wav", tmp_path / f"{name}.png") for name in ("grey", "black"))
    assert (grey.seconds, grey.sample_rate, grey.size, grey.notes) == ({"audio": 0.5}, 8000, (30, 20), ())
    assert black.notes == ("the picture is black",)


@pytest.mark.skipif(not (REAL / "real").is_dir(), reason="no data here")
@pytest.mark.slow
def test_real_clips_look_right() -> None:
    clips = sorted((REAL / "real").glob("crema-d/VideoFlash/*.flv")) + sorted((REAL / "real").glob("grid/*.mpg"))
    assert len(clips) == 6
    assert [inspected(path).notes for path in clips] == [()] * 6


@pytest.mark.slow
def test_check_warns_of_what_only_content_tells(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    for number in range(10):
        split, name = ("train", "test")[number % 2], ("dog", "cat")[number // 2 % 2]
        write_clip(folder / split / name / f"{number}.mp4", number)
    planted: dict[str, tuple[dict[str, Any], str]] = {
        "still": ({"moving": False}, "a still picture: its 6 frames are alike"),
        "dark": ({"bright": 0.0}, "6 of 6 frames are black"),
        "long": ({"frames": 36}, "lasts 3.0"),
        "apart": ({"heard_seconds": 0.05}, "its sound lasts 0.1"),
    }
    for name, (options, _) in planted.items():
        write_clip(folder / "train" / "dog" / f"{name}.mp4", 7, **options)
    silent = write_clip(folder / "train" / "cat" / "silent.mp4", 8, loud=0.0)
    checked = scmrl("data", "check", "av-folder", "--root", folder, *sets({"model.image_size": 16}), "--json")
    found = json.loads(checked.out)
    warned = {Path(row["path"]).stem: row["what"] for row in found["warnings"]}
    assert {*warned} == {*planted}
    for name, (_, what) in planted.items():
        assert warned[name].startswith(what), warned
    assert "usual length is 0.5" in warned["long"]
    assert [(row["path"], "nothing but silence" in row["reason"]) for row in found["bad"]] == [(str(silent), True)]
    assert checked.code == 1
    silent.unlink()
    assert scmrl("data", "check", "av-folder", "--root", folder, *sets({"model.image_size": 16})).code == 0

"""Plots as files of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from scmrl_plugins.core.evaluation.robustness import Point
from scmrl_plugins.explain.plots import snr_plot
from scmrl_plugins.registry import UserError

CURVES = {
    "audio": [Point(0, 0.4, (0.3, 0.5)), Point(10, 0.8, (0.7, 0.9))],
    "visual": [Point(0, 0.6, None), Point(10, 0.9, None)],
}


def test_a_plot_is_a_picture(tmp_path: Path) -> None:
    snr_plot(tmp_path / "noise.png", CURVES, 0.95, "a_run with $signs$ in its name")
    with Image.open(tmp_path / "noise.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400


def test_a_plot_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*; name another file with --plot"):
        snr_plot(tmp_path / "file" / "noise.svg", CURVES, 0.95, "a run")

"""The page of ``scmrl bench data``."""

from __future__ import annotations

from typing import Any

import pytest

from scmrl_plugins.bench.data.compare import DECODED, STORED
from scmrl_plugins.bench.data.report import markdown

RESULTS: dict[str, Any] = {
    "samples": 1200,
    "settings": {
        "dataset": "av-folder",
        "repeats": 3,
        "batch_size": 8,
        "workers": 2,
        "threads": 1,
        "image_size": 64,
    },
    "epochs": {DECODED: {"minimum": 12.0, "median": 15.0}, STORED: {"minimum": 1.0, "median": 1.2}},
    "samples_per_second": {DECODED: {"best": 100.0, "median": 80.0}, STORED: {"best": 1200.0, "median": 1000.0}},
    "ratio": 12.0,
    "median_ratio": 12.5,
    "memory": {
        "small": {"samples": 150, "stored": 10**6, "before": 2 * 10**8, "private": 3 * 10**8},
        "large": {"samples": 1200, "stored": 8 * 10**6, "before": 2 * 10**8, "private": 3 * 10**8},
    },
    "same_batches": True,
    "hardware": {"cpu": "a processor", "cores": 2},
    "environment": {"platform": "Linux", "packages": {"torch": "2.14.1"}},
}


@pytest.mark.parametrize("same", [True, False])
def test_the_page_has_both_sides_and_says_whether_their_batches_are_the_same(same: bool) -> None:
    page = markdown({**RESULTS, "same_batches": same}, "scmrl bench data")
    assert "An epoch of 1,200 training samples of `av-folder`" in page
    assert "| files decoded and transformed every time | 12 s | 15 s | 100 | 80 |" in page
    assert "| stored features | 1 s | 1.2 s | 1,200 | 1,000 |" in page
    assert "| ratio | 12.0 | 12.5 | | |" in page
    assert ("NOT identical" in page) is not same
    assert "`scmrl bench data` on a processor, 2 cores" in page

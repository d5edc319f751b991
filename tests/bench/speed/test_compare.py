from __future__ import annotations

import os
import signal

import pytest
from tiny_model import TINY

from scmrl_plugins.bench.speed.compare import side, versus
from scmrl_plugins.bench.speed.settings import BASELINE, OURS
from scmrl_plugins.registry import UserError


def test_a_ratio_is_the_baseline_over_ours() -> None:
    result = versus({BASELINE: [6.0, 4.0, 9.0], OURS: [2.0, 3.0, 8.0]})
    assert result["ratio"] == 2.0
    assert result["median_ratio"] == 2.0
    assert result[OURS] == {"minimum": 2.0, "median": 3.0, "seconds": [2.0, 3.0, 8.0]}


def test_a_process_that_dies_is_named() -> None:
    with side(BASELINE, TINY, "cpu") as child:
        os.kill(child.process.pid or 0, signal.SIGKILL)
        with pytest.raises(UserError, match=r"'baseline' was ended by SIGKILL: it printed nothing; if it ran"):
            child.call("prepare")

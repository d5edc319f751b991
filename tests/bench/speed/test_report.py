from __future__ import annotations

from tiny_model import TINY

from scmrl_plugins.bench.speed import report
from scmrl_plugins.bench.speed.compare import versus
from scmrl_plugins.bench.speed.settings import BASELINE, OURS
from scmrl_plugins.bench.spread import doublings
from scmrl_plugins.core.run import environment


def test_the_table_marks_unknown_values() -> None:
    timed = versus({BASELINE: [2.0], OURS: [1.0]})
    results = {
        "train": timed,
        "inference": timed,
        "inference_folded": timed,
        "kernel": {"shape": [2, 3], **timed},
        "memory": {BASELINE: None, OURS: None, "ratio": None},
        "bare_ms": 500.0,
        "times_bare": 2.0,
        "compile_seconds": 0.0,
        "first_losses": {BASELINE: 1.0, OURS: 1.5, "ours_channels_first": 1.5},
        "same_first_loss": False,
        "parameters": 12,
        "warnings": ["no compiler"],
        "settings": vars(TINY),
        "hardware": environment.hardware("cpu"),
        "environment": {"packages": {"torch": "2"}, "platform": "here"},
        "scaling": {"steps": doublings((4, 8), (1.0, 2.0)), "tokens": {}},
    }
    page = report.markdown(results, "scmrl bench speed")
    assert "| training step | 2.00 s | 1.00 s | 2.00 | 2.00 |" in page
    assert "unknown | unknown |" in page
    assert "different models" in page
    assert "warning: no compiler" in page
    assert "| time steps, training step | 8 | 2.00 s | 2.00 |" in page

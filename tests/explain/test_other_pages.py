"""Pages of one sample and of several runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from metric_lines import lines

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.explain import compare, sample
from scmrl_plugins.explain.clock import Clock
from scmrl_plugins.explain.facts import facts
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
CPU = torch.device("cpu")


def finished(small: Small, path: Path, fusion: str) -> Run:
    run = create_run(path, small(fusion={"name": fusion}))
    run.write_metrics(lines(2, ["one", "two", "three"], 2))
    return run


def test_a_sample_is_explained(small: Small, tmp_path: Path) -> None:
    run = finished(small, tmp_path / "run", "cmrl")
    parts = run.assemble()
    inputs = {"audio": torch.rand(1, 1, 8, 8), "visual": torch.rand(1, 2, 8, 8)}
    path = sample.explain(run, parts, inputs, "<b>a.wav</b> and i.png")
    assert path == run.path / "sample.html"
    page = path.read_text(encoding="utf-8")
    best = parts.model.eval()(**inputs).logits.detach()[0].softmax(0).max()
    assert f"{float(best):.1%}" in page
    assert "<b>a.wav" not in page
    for title in (
        "Who carries it",
        "Where it looks",
        "Spikes",
        "Membrane potentials",
        "Attention over time steps",
    ):
        assert title in page


@pytest.mark.slow
def test_runs_are_compared(small: Small, tmp_path: Path) -> None:
    first, second = finished(small, tmp_path / "first", "cmrl"), finished(small, tmp_path / "second", "late")
    page = compare.explain([first, second], CPU, Clock(300), tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Paired differences" in page
    assert "fusion.name" in page
    known = [facts(run) for run in (first, second)]
    differ, every = compare.settings(known, ["first", "second"])
    rows = {row[0]: list(row[1:]) for row in differ.rows}
    assert rows["fusion.name"] == ["cmrl", "late"]
    assert rows["fusion.alpha"] == ["1.5", "-"]
    assert "train.lr" not in rows
    marks = {row[0]: row[-1] for row in every.rows}
    assert marks["fusion.name"] == "differs"
    assert marks["train.lr"] == ""
    assert f"<summary>All {len(marks)} settings</summary>" in page
    assert len(marks) > len(rows) + 20
    again = copy.copy(first)
    page = compare.explain([first, again], CPU, Clock(300), tmp_path / "c.html").read_text(encoding="utf-8")
    assert "None: the runs have the same configuration." in page
    assert "No difference is significant" in page


def test_a_comparison_takes_several_runs(small: Small, tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(UserError, match="9 runs: a comparison takes 2 to 8"):
        compare.explain([run] * 9, CPU, Clock(1), tmp_path / "c.html")

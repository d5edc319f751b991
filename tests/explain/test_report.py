"""The report of a run: all of it in one page."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from blob_data import SIZES
from rich.console import Console

from scmrl_plugins.core.evaluation.evaluate import Evaluation
from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.core.training.loop import train
from scmrl_plugins.explain import report
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]


def fit(run: Run, parts: Assembly) -> Evaluation:
    return train(run, parts, torch.device("cpu"), Progress(Console(file=io.StringIO())))


class _Tags(HTMLParser):
    """What a page refers to, and the text alternatives of its graphics."""

    def __init__(self) -> None:
        super().__init__()
        self.alternatives: list[str | None] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "svg":
            self.alternatives.append(found.get("aria-label"))
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.links += [value for key, value in attrs if key in ("src", "href") and value]


def tags_of(page: str) -> _Tags:
    tags = _Tags()
    tags.feed(page)
    return tags


def check_self_contained(page: str) -> None:
    """No reference leads out of the page, none leads nowhere, and every graphic has a text alternative."""
    tags = tags_of(page)
    assert tags.alternatives
    assert all(tags.alternatives)
    assert len(set(tags.ids)) == len(tags.ids)
    for link in tags.links:
        assert link.startswith("data:") or link[1:] in tags.ids, link
    assert "http:" not in page
    assert "https:" not in page


@pytest.mark.slow
def test_the_report_is_self_contained_and_written_atomically(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = small(sets=["train.epochs=2"])
    run = create_run(tmp_path / "run", parts)
    result = fit(run, parts)
    report.write(run)
    page = run.report_file.read_text(encoding="utf-8")
    best = run.metrics()[-1]["best_epoch"]
    assert (
        f"Test accuracy {result.metrics['accuracy']:.2%} of {SIZES['test']} samples, weights of epoch {best}"
        in page
    )
    check_self_contained(page)
    assert "scmrl explain" in page  # what the report at the end of a training leaves out
    for name in (
        "one",
        "two",
        "three",
        "Cross-modal contribution",
        "visual from audio",
        "backbones.audio.patches.stages.0.neuron",
        "embed_dims = 8",
    ):
        assert name in page

    lines = run.metrics()
    for key, value in {
        "confusion": [[]],
        "per_class": 3,
        "accuracy": 10**400,
    }.items():
        run.write_metrics([*lines[:-1], {**lines[-1], key: value}])
        with contextlib.suppress(UserError):  # one line, or a page of what there is
            report.write(run)
    run.write_metrics([*lines[:-1], {**lines[-1], "firing_rates": None}])
    with pytest.raises(UserError, match="its metrics or environment are damaged"):
        report.write(run)
    run.write_metrics(lines)
    report.write(run)

    def fail(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            report.write(run)
    assert run.report_file.read_text(encoding="utf-8") == page
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_the_report_escapes_names(small: Small, tmp_path: Path) -> None:
    parts = small(sets=["train.epochs=1"])
    run = create_run(tmp_path / "run", parts)
    fit(run, parts)
    lines = run.metrics()
    del lines[-1]["contribution"]  # as in runs that were tested before it was measured
    lines[-1]["per_class"] = {"<script>": 0.5, "two & more": 0.25, "three": 1.0}
    run.write_metrics(lines)
    report.write(run)
    page = run.report_file.read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "two &amp; more" in page
    assert "Cross-modal contribution" not in page
    check_self_contained(page)

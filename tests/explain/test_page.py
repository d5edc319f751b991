"""The page in a browser, and what stands in the files of a run that it is made from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from metric_lines import lines

from scmrl_plugins.core.model.assembly import Assembly
from scmrl_plugins.core.run.directory import Run, create_run
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.explain import page, report
from scmrl_plugins.explain.clock import Clock
from scmrl_plugins.explain.shorten import bounded, excerpt, shortened
from scmrl_plugins.registry import UserError

Small = Callable[..., Assembly]
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<script>document.title='hacked'</script>\"><img src=x onerror=alert(1)>{{ 7 * 7 }}"


@pytest.fixture
def run(small: Small, tmp_path: Path) -> Run:
    return create_run(tmp_path / "run", small())


def in_browser(path: Path, script: str, folder: Path) -> tuple[Any, str]:
    """What a script that is added to a copy of the page returns, and the browser's messages."""
    text = path.read_text(encoding="utf-8")
    policy = re.search(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)
    assert policy
    result = f"JSON.stringify((() => {{{script}}})())"
    asked = f"<script>const seen = document.createElement('pre'); seen.textContent = {result};"
    asked += "document.body.replaceChildren(seen)</script>"
    copy = folder / "copy.html"
    copy.write_text(text.replace(policy[0], "").replace("</body>", f"{asked}</body>"), encoding="utf-8")
    assert BROWSER
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'b'}",
    ]
    done = subprocess.run(
        [BROWSER, *options, "--window-size=400,800", "--dump-dom", f"file://{copy}"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    found = re.search(r"<pre>(.*)</pre>", done.stdout, flags=re.S)
    assert found, done.stderr
    return json.loads(unescape(found[1])), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser here")
def test_the_page_in_a_browser(run: Run, tmp_path: Path) -> None:
    """Measured and drawn: every graphic has a size and a text alternative, links work, names stay text."""
    found = lines(3, ["one", HOSTILE, "three"], 3)
    run.write_metrics(found)
    path = report.explain(run, torch.device("cpu"), Clock(300), Progress.silent())
    script = """
        const pictures = [...document.querySelectorAll("svg")].map(one => {
            const box = one.getBoundingClientRect();
            return [box.width, box.height, one.getAttribute("role"), one.getAttribute("aria-label")];
        });
        const links = [...document.querySelectorAll("a")].map(one => one.getAttribute("href"));
        const broken = links.filter(one => !document.getElementById(one.slice(1)));
        const wide = document.documentElement.scrollWidth - innerWidth, title = document.title;
        const names = [...document.querySelectorAll("th, td")].map(one => one.textContent);
        const scripts = document.querySelectorAll("script, img").length;
        const named = [...document.querySelectorAll("h1, h2, h3, a, summary")];
        const unnamed = named.filter(one => !one.textContent).length;
        return {pictures, broken, wide, title, names, scripts, unnamed};
    """
    seen, messages = in_browser(path, script, tmp_path)
    assert "CONSOLE" not in messages, messages
    assert len(seen["pictures"]) > 15
    for width, height, role, text in seen["pictures"]:
        assert width > 100
        assert height > 30
        assert role == "img"
        assert text
    assert seen["broken"] == []
    assert seen["wide"] <= 0  # nothing sticks out of a small screen
    assert seen["title"] == "blobs: cmrl with lif"
    assert seen["scripts"] == 1  # that of the test
    assert seen["unnamed"] == 0
    assert any(name.startswith("<script>document.title") for name in seen["names"])


@pytest.mark.slow
def test_a_large_run_takes_bounded_time_and_space(run: Run) -> None:
    """100 epochs, 309 classes, 200 layers, and a file that has more in it than training writes."""
    classes = [f"class {index}" for index in range(309)]
    found = lines(100, classes, 200)
    found[-1]["per_class"] = {"x" * 60_000: 0.5, "x" * 59_999: 0.4} | found[-1]["per_class"]
    run.write_metrics([*({"step": 1, "of_epoch": 1, "lr": 0.1} for _ in range(20_000)), *found])
    started = time.process_time()
    report.write(run)
    assert time.process_time() - started < 20
    text = run.report_file.read_text(encoding="utf-8")
    assert len(text.encode()) < page.LARGEST
    assert "x" * 200 not in text
    assert "Confusion matrix of 309 classes" in text
    assert "firing_rates" not in text


def test_a_class_name_of_a_megabyte_is_refused(run: Run) -> None:
    run.write_metrics(lines(1, ["x" * 2**20, "b"], 1))
    with pytest.raises(UserError, match="a text has 1,048,576 characters"):
        report.write(run)


def test_what_stands_in_files_is_cut() -> None:
    nested: Any = 1
    for _ in range(500):
        nested = {"a": [nested]}
    assert "…" in str(bounded(nested))
    assert len(str(bounded(nested))) < 200
    assert len(bounded(list(range(10**5)))) < 5000
    same = {f"{'y' * 100}{index:05}{'y' * 100}": index for index in range(300)}
    assert list(bounded(same).values()) == list(range(300))
    assert shortened("a\x1b[31m\u202e") == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
    assert len(excerpt("\n".join(["z" * 10**5] * 1000))) < 10**5


def test_deeply_nested_files_are_refused(run: Run) -> None:
    run.write_metrics(lines(1, ["a", "b"], 1))
    (run.path / "environment.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UserError, match=r"environment\.json: nested too deeply|not JSON"):
        report.write(run)


def test_a_page_is_never_larger_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest drawings are left out."""
    from scmrl_plugins.explain.drawing import Drawing

    monkeypatch.setattr(page, "LARGEST", 60_000)
    drawings = [
        (name, Drawing(f"<svg>{'x' * size}</svg>", name)) for name, size in (("big", 90_000), ("small", 100))
    ]
    values = {"title": "t", "subtitle": "", "findings": [], "probability": "", "headline": ""}
    text = page.render("sample.html", [page.Section("a", "A", drawings)], **values)
    assert "small" in text
    assert "big" not in text

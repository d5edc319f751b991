"""The report of a run: one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scmrl_plugins.core.evaluation import metrics
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.core.system.progress import Progress
from scmrl_plugins.explain import findings, page
from scmrl_plugins.explain.drawing import Table
from scmrl_plugins.explain.facts import DAMAGED, Facts, damaged, facts
from scmrl_plugins.explain.figures import FIGURES, SECTIONS
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import torch

    from scmrl_plugins.explain.clock import Clock

_DRAWING = 5.0
"""Seconds that drawing takes."""


def write(run: Run) -> None:
    """Write ``report.html`` of a trained run from its files, without measuring anything.

    Raises ``UserError`` if the run has no test result yet.
    """
    _write(facts(run))


def explain(
    run: Run, device: torch.device, clock: Clock, progress: Progress | None = None, output: Path | None = None
) -> Path:
    """Measure a trained run on samples of its test split, write its report, and return the path.

    ``output``: the file, instead of ``report.html`` in the run. What there is no time for, or no data, is left out
    and named. Raises ``UserError`` like ``write``.
    """
    from scmrl_plugins.explain.measured import measure, unavailable

    known = facts(run)
    progress = progress or Progress.silent()
    clock.seconds -= _DRAWING
    try:
        known.measured = measure(run.assemble(), device, clock, progress)
    except UserError as error:
        known.unmeasured = unavailable(error)
    clock.seconds += _DRAWING
    return _write(known, output, progress, clock)


def _write(
    known: Facts, output: Path | None = None, progress: Progress | None = None, clock: Clock | None = None
) -> Path:
    try:
        text = _page(known, progress or Progress.silent(), clock)
    except DAMAGED as error:
        raise damaged(known.run, error) from None
    path = output or known.run.report_file
    files.write_text(path, text)
    return path


def _page(known: Facts, progress: Progress, clock: Clock | None) -> str:
    test = known.test
    sections = _sections(known, progress, clock)
    notes, more = _left_out(known)
    return page.render(
        "report.html",
        sections,
        [*([("left-out", "What is left out")] if notes else []), ("repeat", "Configuration")],
        title=known.title,
        subtitle=f"Run {known.run.path.resolve().name}, made {known.environment.get('created', 'some time ago')}",
        accuracy=f"{test['accuracy']:.1%}",
        headline=findings.headline(known),
        interval=findings.interval(known),
        bar=_bar(test),
        findings=findings.findings(known),
        notes=notes,
        more=more,
        metrics=Table(["metric", "value"], metrics.rows(dict(test) | {"per_class": {}, "per_group": {}})),
        versions=Table(["", "version"], _versions(known.environment)),
        command=known.command,
        config=known.config_text,
    )


def _sections(known: Facts, progress: Progress, clock: Clock | None) -> list[page.Section]:
    """The drawings by section; those that there is no time for are noted."""
    found = {id: page.Section(id, title, []) for id, title in SECTIONS.items()}
    progress.stage("drawing", len(FIGURES))
    for figured in FIGURES:
        if figured.measured and clock is not None and clock.left < 0:
            known.omitted.append(f"{figured.title}: time was up")
        else:
            drawings = found[figured.section].drawings
            drawings += [(drawing.title or figured.title, drawing) for drawing in figured.draw(known)]
        progress.advance()
    return list(found.values())


def _left_out(known: Facts) -> tuple[list[str], str]:
    """What is not on the page, and the command that measures it."""
    measured = known.measured
    if measured is not None:
        notes = [f"{what}: {reason}" for what, reason in measured.omitted.items()]
        if measured.n < measured.total:
            notes.append(f"Measured on {measured.n} of {measured.total} test samples, evenly spaced.")
        return [*notes, *known.omitted], ""
    if known.unmeasured:
        return [known.unmeasured, *known.omitted], ""
    titles = [figured.title.lower() for figured in FIGURES if figured.measured]
    return [f"Measured by scmrl explain: {'; '.join(titles)}."], f"scmrl explain {known.run.path}"


def _bar(test: Mapping[str, Any]) -> dict[str, str] | None:
    """Accuracy and interval on a scale from 0 to 100 %."""
    if not (limits := test.get("interval")):
        return None
    low, high, at = (100 * min(1.0, max(0.0, float(x))) for x in (*limits, test["accuracy"]))
    return {"low": f"{low:.2f}", "width": f"{max(0.0, high - low):.2f}", "at": f"{at:.2f}"}


def _versions(environment: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    rows = [[name, str(value)] for name, value in dict(environment.get("packages") or {}).items()]
    for plugin in environment.get("plugins") or []:
        if plugin["distribution"] != "scmrl-plugins":
            rows.append([f"plugin {plugin['name']}", f"{plugin['distribution']} {plugin['version']}"])
    others = ("python", "platform", "seed", "git_commit", "compile")
    return [*([name.replace("_", " "), str(environment[name])] for name in others if name in environment), *rows]

"""The results of a sweep: its trials ranked by the validation split, as JSON, Markdown and a plot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.evaluation.metrics import METRICS
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files
from scmrl_plugins.sweep import plot
from scmrl_plugins.sweep.directory import DONE, FAILED, STOPPED, WAITING, SweepDirectory
from scmrl_plugins.sweep.sweep import Sweep, Trial, settings_text, value_text

_ONLY_IN_RESULT = ("config", "environment", "epochs")
"""Keys of a trial's result that the summary leaves out."""


def summarize(sweep: Sweep, trials: Sequence[Trial], directory: SweepDirectory) -> dict[str, Any]:
    """The trials, best first, then those without a result; what they have in common, and the environment."""
    outcomes = [directory.outcome(trial) for trial in trials]
    done = sorted((o for o in outcomes if o["status"] == DONE), key=lambda o: _rank(o, sweep.section.metric))
    ranked = [*done, *(o for o in outcomes if o["status"] != DONE)]
    statuses = Counter(o["status"] for o in outcomes)
    described = done[0]["environment"] if done else environment.describe(trials[0].config)
    packages = {**described["packages"], "ray": environment.version_of("ray")}
    return {
        "search": sweep.section.search,
        "seed": sweep.section.seed,
        "metric": sweep.section.metric,
        "protocol": trials[0].config.train.protocol,
        "space": sweep.space,
        "count": {status: statuses[status] for status in (DONE, FAILED, STOPPED, WAITING)},
        "best": done[0]["trial"] if done else None,
        "samples": done[0]["n"] if done else None,
        "devices": sorted({o["device"] for o in done}),
        "environment": {**described, "packages": packages},
        "trials": [{key: o[key] for key in o if key not in _ONLY_IN_RESULT} for o in ranked],
    }


def _rank(outcome: Mapping[str, Any], metric: str) -> tuple[Any, ...]:
    """Smaller is better; the other metrics of the validation split break ties, in the order of the table."""
    by = metric.removeprefix("validation_")
    values = {name: outcome.get(f"validation_{name}") for name in (by, *METRICS)}
    signs = {name: -1 if METRICS[name].higher_is_better else 1 for name in values}
    return (
        *(math.inf if value is None else signs[name] * value for name, value in values.items()),
        outcome["trial"],
    )


def write(summary: Mapping[str, Any], out: Path, command: str) -> None:
    """Write ``results.json`` and ``results.md`` to ``out``, and ``results.png`` if a trial is done."""
    files.write_json(out / "results.json", {"command": command, **summary})
    files.write_text(out / "results.md", markdown(summary, command))
    if summary["best"]:
        with files.replacing(out / "results.png") as temporary:
            plot.figure(summary).savefig(temporary, format="png", dpi=120)


def markdown(summary: Mapping[str, Any], command: str) -> str:
    """The ranked trials, all their metrics, and notes on how they were made."""
    count, title = summary["count"], _title(summary["metric"])
    statuses = ", ".join(f"{number} {status}" for status, number in count.items() if number)
    lines = [
        f"{sum(count.values())} trials ({statuses}), ranked by {title.partition(',')[0]}:",
        "",
        *_ranking(summary, title),
        *_metrics([trial for trial in summary["trials"] if trial["status"] == DONE]),
        "",
    ]
    if summary["best"]:
        best = summary["trials"][0]
        lines.append(f"- best: {best['trial']}, {settings_text(best['settings'])}; its run is `{best['run']}`")
        lines.append(
            f"- test metrics are on {summary['samples']} samples, read once per trial and not used to choose"
        )
    drawn = f", points from seed {summary['seed']}" if summary["search"] == "random" else ""
    devices = ", ".join(summary["devices"]) or "no device yet"
    lines += [
        f"- {summary['search']} search{drawn}; train.seed {summary['environment']['seed']}",
        f"- {summary['protocol']} protocol: {PROTOCOLS[summary['protocol']]}",
        f"- {environment.provenance(command, devices, summary['environment'])}",
    ]
    return "\n".join(lines) + "\n"


def _ranking(summary: Mapping[str, Any], title: str) -> list[str]:
    """Settings, the metric that ranks, the test accuracy and the status of every trial."""
    keys, metric = list(summary["space"]), summary["metric"]
    lines = [
        f"| trial | {' | '.join(keys)} | {title} | {_title('test_accuracy')} | best epoch | status |",
        "|---|" + "---:|" * (len(keys) + 3) + "---|",
    ]
    for trial in summary["trials"]:
        cells = [trial["trial"], *(_cell(value_text(trial["settings"][key])) for key in keys)]
        if trial["status"] == DONE:
            cells += [_value(trial, metric), _value(trial, "test_accuracy"), str(trial["best_epoch"]), DONE]
        else:
            cells += ["", "", "", _status(trial)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _status(trial: Mapping[str, Any]) -> str:
    if trial["status"] == FAILED:
        return f"failed: {_cell(trial.get('reason', ''))}"
    return f"stopped after epoch {trial.get('epochs_done')}" if trial["status"] == STOPPED else WAITING


def _metrics(done: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every metric of the trials that are done, on both splits."""
    keys = [
        key
        for split in ("validation", "test")
        for name in METRICS
        if any((key := f"{split}_{name}") in trial for trial in done)
    ]
    if not keys:
        return []
    return [
        "",
        "All metrics:",
        "",
        f"| trial | {' | '.join(map(_title, keys))} |",
        "|---|" + "---:|" * len(keys),
        *(f"| {trial['trial']} | {' | '.join(_value(trial, key) for key in keys)} |" for trial in done),
    ]


def _title(key: str) -> str:
    """``validation accuracy, %``."""
    split, _, name = key.partition("_")
    return f"{split} {METRICS[name].label}" + (", %" if METRICS[name].format.endswith("%") else "")


def _value(trial: Mapping[str, Any], key: str) -> str:
    value, metric = trial.get(key), METRICS[key.partition("_")[2]]
    if value is None:
        return ""
    return f"{100 * value:.1f}" if metric.format.endswith("%") else metric.text(value)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())

"""The results of a sweep: its trials ranked by the validation split, as JSON, Markdown and a plot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config.sections import PROTOCOLS
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


def _rank(outcome: Mapping[str, Any], metric: str) -> tuple[float, float, str]:
    """Smaller is better; the other metric of the validation split breaks ties, then the name."""
    accuracy, loss = -outcome["validation_accuracy"], outcome["validation_loss"]
    loss = math.inf if loss is None else loss
    first, second = (accuracy, loss) if metric == "validation_accuracy" else (loss, accuracy)
    return first, second, outcome["trial"]


def write(summary: Mapping[str, Any], out: Path, command: str) -> None:
    """Write ``results.json`` and ``results.md`` to ``out``, and ``results.png`` if a trial is done."""
    files.write_json(out / "results.json", {"command": command, **summary})
    files.write_text(out / "results.md", markdown(summary, command))
    if summary["best"]:
        with files.replacing(out / "results.png") as temporary:
            plot.figure(summary).savefig(temporary, format="png", dpi=120)


def markdown(summary: Mapping[str, Any], command: str) -> str:
    """The ranked table, with notes on how it was made."""
    keys = list(summary["space"])
    figure = {"validation_accuracy": "validation accuracy, %", "validation_loss": "validation loss"}[
        summary["metric"]
    ]
    count = summary["count"]
    statuses = ", ".join(f"{number} {status}" for status, number in count.items() if number)
    lines = [
        f"{sum(count.values())} trials ({statuses}), ranked by {figure.partition(',')[0]}:",
        "",
        f"| trial | {' | '.join(keys)} | {figure} | test accuracy, % | best epoch | status |",
        "|---|" + "---:|" * (len(keys) + 3) + "---|",
    ]
    for trial in summary["trials"]:
        values = [_cell(value_text(trial["settings"][key])) for key in keys]
        lines.append(f"| {' | '.join([trial['trial'], *values, *_figures(trial, summary['metric'])])} |")
    lines.append("")
    if summary["best"]:
        best = summary["trials"][0]
        lines.append(f"- best: {best['trial']}, {settings_text(best['settings'])}; its run is `{best['run']}`")
        lines.append(
            f"- test accuracy is on {summary['samples']} samples, read once per trial and not used to choose"
        )
    drawn = f", points from seed {summary['seed']}" if summary["search"] == "random" else ""
    devices = ", ".join(summary["devices"]) or "no device yet"
    lines += [
        f"- {summary['search']} search{drawn}; train.seed {summary['environment']['seed']}",
        f"- {summary['protocol']} protocol: {PROTOCOLS[summary['protocol']]}",
        f"- {environment.provenance(command, devices, summary['environment'])}",
    ]
    return "\n".join(lines) + "\n"


def _figures(trial: Mapping[str, Any], metric: str) -> list[str]:
    if trial["status"] == DONE:
        value = trial[metric]
        shown = _percent(value) if metric == "validation_accuracy" else "" if value is None else f"{value:.4f}"
        return [shown, _percent(trial["test_accuracy"]), str(trial["best_epoch"]), DONE]
    status = {
        FAILED: f"failed: {_cell(trial.get('reason', ''))}",
        STOPPED: f"stopped after epoch {trial.get('epochs_done')}",
        WAITING: "waiting",
    }[trial["status"]]
    return ["", "", "", status]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())

"""What a sweep found: its trials ranked by the validation split, as JSON, Markdown and a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.run import environment
from scmrl_plugins.core.system import files, jsonable
from scmrl_plugins.sweep import sweep
from scmrl_plugins.sweep.sweep import DONE, FAILED, STOPPED, WAITING, Place, Sweep, Trial

_ELSEWHERE = ("config", "environment", "epochs")
"""What each trial's own result says, and the table of all does not."""


def summarize(wanted: Sweep, trials: Sequence[Trial], place: Place) -> dict[str, Any]:
    """The trials, best first, then those without a result; with what they have in common and what made them."""
    outcomes = [sweep.outcome(place, trial) for trial in trials]
    done = sorted((told for told in outcomes if told["status"] == DONE), key=lambda told: _rank(told, wanted))
    others = [told for told in outcomes if told["status"] != DONE]
    surroundings = done[0]["environment"] if done else environment.describe(trials[0].config)
    packages = {**surroundings["packages"], "ray": environment.version_of("ray")}
    return {
        "search": wanted.section.search,
        "seed": wanted.section.seed,
        "metric": wanted.section.metric,
        "protocol": trials[0].config.train.protocol,
        "space": wanted.space,
        "count": {
            name: sum(told["status"] == name for told in outcomes) for name in (DONE, FAILED, STOPPED, WAITING)
        },
        "best": done[0]["trial"] if done else None,
        "samples": done[0]["n"] if done else None,
        "devices": sorted({told["device"] for told in done}),
        "environment": {**surroundings, "packages": packages},
        "trials": [{key: told[key] for key in told if key not in _ELSEWHERE} for told in (*done, *others)],
    }


def _rank(told: Mapping[str, Any], wanted: Sweep) -> tuple[float, float, str]:
    """Smaller is better; the other figure of the validation split decides between equals, then the name."""
    accuracy, loss = -told["validation_accuracy"], told["validation_loss"]
    loss = math.inf if loss is None else loss
    first, second = (accuracy, loss) if wanted.section.metric == "validation_accuracy" else (loss, accuracy)
    return first, second, told["trial"]


def write(summary: Mapping[str, Any], out: Path, command: str) -> None:
    """``results.json`` and ``results.md`` in ``out``, and ``results.png`` where a trial is through."""
    files.write_text(out / "results.json", jsonable.dumps({"command": command, **summary}, indent=2) + "\n")
    files.write_text(out / "results.md", markdown(summary, command))
    if summary["best"]:
        with files.replacing(out / "results.png") as temporary:
            _figure(summary).savefig(temporary, format="png", dpi=120)


def markdown(summary: Mapping[str, Any], command: str) -> str:
    """The table, with what it was made by."""
    keys = list(summary["space"])
    figure = {"validation_accuracy": "validation accuracy, %", "validation_loss": "validation loss"}[
        summary["metric"]
    ]
    count = summary["count"]
    told = ", ".join(f"{number} {status}" for status, number in count.items() if number)
    lines = [
        f"{sum(count.values())} trials ({told}), ranked by {figure.partition(',')[0]}:",
        "",
        f"| trial | {' | '.join(keys)} | {figure} | test accuracy, % | best epoch | status |",
        "|---|" + "---:|" * (len(keys) + 3) + "---|",
    ]
    for trial in summary["trials"]:
        values = [_cell(sweep.value_text(trial["settings"][key])) for key in keys]
        lines.append(f"| {' | '.join([trial['trial'], *values, *_figures(trial, summary['metric'])])} |")
    lines.append("")
    if summary["best"]:
        best = summary["trials"][0]
        lines.append(
            f"- best: {best['trial']}, {sweep.settings_text(best['settings'])}; its run is `{best['run']}`"
        )
        lines.append(
            f"- test accuracy is of {summary['samples']} samples, read once a trial and not used to choose"
        )
    drawn = f", points drawn from seed {summary['seed']}" if summary["search"] == "random" else ""
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


def _figure(summary: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    keys, done = list(summary["space"]), [trial for trial in summary["trials"] if trial["status"] == DONE]
    columns = min(3, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = Figure(figsize=(max(5.0, 3.4 * columns), 0.6 + 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, key in zip(panels, keys, strict=False):
        values = [trial["settings"][key] for trial in done]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if numbers:
            places = values
            axis = summary["space"][key]
            if axis.keys() & {"log_uniform", "log_integer"} if isinstance(axis, dict) else _by_factors(axis):
                panel.set_xscale("log")
                panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                panel.xaxis.set_minor_formatter(NullFormatter())
        else:
            names = [sweep.value_text(value) for value in values]
            shown = list(dict.fromkeys(names))
            places = [shown.index(name) for name in names]
            panel.set_xticks(range(len(shown)), [name[:24] for name in shown], rotation=20, ha="right")
            panel.set_xlim(-0.5, len(shown) - 0.5)
        for name, style in (("validation", {"marker": "o"}), ("test", {"marker": "o", "facecolors": "none"})):
            accuracies = [100 * trial[f"{name}_accuracy"] for trial in done]
            colour = "tab:blue" if name == "validation" else "tab:gray"
            panel.scatter(places, accuracies, s=26, label=name, edgecolors=colour, color=colour, **style)
        panel.scatter(
            places[:1],
            [100 * done[0]["validation_accuracy"]],
            s=110,
            marker="o",
            facecolors="none",
            edgecolors="tab:red",
            label="best",
        )
        panel.set_xlabel(key)
        panel.grid(alpha=0.3)
        panel.set_axisbelow(True)
    for panel in panels[len(keys) :]:
        panel.set_visible(False)
    for row in range(rows):
        panels[row * columns].set_ylabel("accuracy, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    return figure


def _by_factors(values: Sequence[float]) -> bool:
    """Whether listed numbers are like 1e-4, 1e-3, 1e-2."""
    return min(values) > 0 and max(values) / min(values) >= 20

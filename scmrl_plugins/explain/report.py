"""A run as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
import json
from typing import TYPE_CHECKING, Any

from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.2rem; margin-top: 2rem }}
img {{ max-width: 100% }} pre {{ background: #f5f5f5; padding: 1rem; overflow: auto }}
table {{ border-collapse: collapse }} td {{ padding: .2rem .8rem; border-bottom: 1px solid #ddd }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
<h1>{title}</h1>
<p><strong>{headline}</strong></p>
<img alt="accuracy and loss by epoch, confusion matrix of the test split"
 src="data:image/png;base64,{image}">
<h2>Accuracy by class</h2>{classes}
<h2>Firing rates on the test split</h2>{rates}
<h2>Configuration</h2><pre>{config}</pre>
<h2>Environment</h2><pre>{environment}</pre>
</html>
"""


def write(run: Run) -> None:
    """Write ``report.html`` of a trained run; ``UserError`` for one that has no test result yet."""
    lines = run.metrics()
    epochs = [line for line in lines if "epoch" in line]
    results = [line for line in lines if line.get("split") == "test"]
    if not results:
        raise UserError(f"{run.path}: not trained to the end yet; go on with scmrl train {run.path}")
    test = results[-1]
    try:
        page = _page(run, epochs, test)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.path}: its metrics or environment are damaged ({error!r}); restore them, or train again"
        ) from None
    files.write_text(run.report_file, page)


def _page(run: Run, epochs: list[dict[str, Any]], test: dict[str, Any]) -> str:
    kinds = run.config().kinds()
    skipped = test.get("skipped", 0)
    image = io.BytesIO()
    figure(epochs, test).savefig(image, format="png", dpi=110)
    return _PAGE.format(
        title=html.escape(f"{kinds['dataset']}: {kinds['fusion']} with {kinds['neuron']}"),
        headline=html.escape(
            f"Test accuracy {test['accuracy']:.2%} of {test['n']} samples, weights of epoch {test['best_epoch']} "
            f"({test['protocol']} protocol: {PROTOCOLS[test['protocol']]})."
            + (f" {skipped} bad files were left out; skipped.json lists them." if skipped else "")
        ),
        image=base64.b64encode(image.getvalue()).decode(),
        classes=_table({name: f"{value:.2%}" for name, value in test["per_class"].items()}),
        rates=_table({name: f"{rate:.4f}" for name, rate in test["firing_rates"].items()}),
        config=html.escape(run.config_file.read_text(encoding="utf-8")),
        environment=html.escape(
            json.dumps(json.loads((run.path / "environment.json").read_text(encoding="utf-8")), indent=2)
        ),
    )


def figure(epochs: list[dict[str, Any]], test: dict[str, Any]) -> Figure:
    """Accuracy and loss by epoch, and the confusion matrix of the test split."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    fig = Figure(figsize=(13, 4), layout="constrained")
    accuracy, loss, confusion = fig.subplots(1, 3)
    x = [line["epoch"] for line in epochs]
    chooser = "test" if test["protocol"] == "published" else "validation"
    for axes, name in ((accuracy, "accuracy"), (loss, "loss")):
        for split in ("train", chooser):
            axes.plot(x, [line[f"{split}_{name}"] for line in epochs], marker="o", ms=3, label=split)
        axes.set(xlabel="epoch", title=name.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    accuracy.axhline(test["accuracy"], color="k", ls=":", lw=1)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
    accuracy.set_title(f"Accuracy (test {test['accuracy']:.2%})")

    labels = list(test["per_class"])
    counts = test["confusion"]
    confusion.imshow(counts, cmap="Blues")
    confusion.set(xlabel="predicted", ylabel="true", title=f"Test split, {test['n']} samples")
    if len(counts) == len(labels) <= 20:
        confusion.set_xticks(range(len(labels)), labels, rotation=45 if max(map(len, labels)) > 3 else 0)
        confusion.set_yticks(range(len(labels)), labels)
        top = max(map(max, counts))
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                if count:
                    shade = "white" if count > top / 2 else "black"
                    confusion.text(j, i, count, ha="center", va="center", fontsize=7, color=shade)
    return fig


def _table(rows: dict[str, str]) -> str:
    cells = "".join(
        f'<tr><td>{html.escape(key)}</td><td class="n">{html.escape(value)}</td></tr>'
        for key, value in rows.items()
    )
    return f"<table>{cells}</table>"

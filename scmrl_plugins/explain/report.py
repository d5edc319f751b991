"""The report of a run: one HTML page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.evaluation import contribution, metrics
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.core.system import files
from scmrl_plugins.explain.figures import FIGURES, Draw, Record
from scmrl_plugins.registry import UserError

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
{figures}
<h2>Metrics on the test split</h2>{metrics}
{contribution}
<h2>Firing rates on the test split</h2>{rates}
<h2>Configuration</h2><pre>{config}</pre>
<h2>Environment</h2><pre>{environment}</pre>
</html>
"""


def write(run: Run) -> None:
    """Write ``report.html`` of a trained run; ``UserError`` if the run has no test result yet."""
    lines = run.metrics()
    tested = [line for line in lines if line.get("split") == "test"]
    if not tested:
        raise UserError(f"{run.path}: not trained to the end yet; resume it with scmrl train {run.path}")
    try:
        page = _page(run, Record([line for line in lines if "epoch" in line], tested[-1]))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.path}: its metrics or environment are damaged ({error!r}); restore them, or train again"
        ) from None
    files.write_text(run.report_file, page)


def _page(run: Run, record: Record) -> str:
    kinds, test = run.config().kinds(), record.test
    skipped = test.get("skipped", 0)
    environment = files.read_json(run.path / "environment.json")
    return _PAGE.format(
        title=html.escape(f"{kinds['dataset']}: {kinds['fusion']} with {kinds['neuron']}"),
        headline=html.escape(
            f"Test accuracy {test['accuracy']:.2%} of {test['n']} samples, weights of epoch {test['best_epoch']} "
            f"({test['protocol']} protocol: {PROTOCOLS[test['protocol']]})."
            + (f" {skipped} bad files were left out; skipped.json lists them." if skipped else "")
        ),
        figures="\n".join(_image(description, draw, record) for description, draw in FIGURES.items()),
        metrics=_table(metrics.rows(test)),
        contribution=_contribution(test.get("contribution")),
        rates=_table([(name, f"{rate:.4f}") for name, rate in test["firing_rates"].items()]),
        config=html.escape(files.read_text(run.config_file)),
        environment=html.escape(json.dumps(environment, indent=2)),
    )


def _image(description: str, draw: Draw, record: Record) -> str:
    figure = draw(record)
    if figure is None:
        return ""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    data = base64.b64encode(image.getvalue()).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def _contribution(directions: Mapping[str, Mapping[str, Any]] | None) -> str:
    """A table by direction; empty for one modality, and for runs that were tested before it was measured."""
    if not directions:
        return ""
    title = "Cross-modal contribution on the test split; changes of accuracy in points"
    return f"<h2>{title}</h2>{_table([contribution.HEADER, *contribution.rows(directions)])}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of a name and values."""
    lines = []
    for name, *values in rows:
        cells = "".join(f'<td class="n">{html.escape(value)}</td>' for value in values)
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"

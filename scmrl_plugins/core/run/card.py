"""The model card of a run: what it was trained on, how well it does, and how to use it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config.sections import PROTOCOLS
from scmrl_plugins.core.run.metrics_file import read_metrics
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError

_LISTED = 50
"""Classes that are named."""


def card(
    model: Any,
    *,
    repository: str | None = None,
    license: str | None = None,
    energy: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
) -> str:
    """The README of a model: YAML for the Hub, then sections.

    ``license``: of the weights, an identifier of the Hub such as ``apache-2.0``. ``energy``: the estimate, with
    ``joules``, ``multiply_accumulates``, ``accumulates`` and ``samples``, what it was measured on. ``digests``: by
    split, of its ids and labels.
    """
    test, environment = _results(model.run), _environment(model.run)
    config = model.config
    kinds = config.kinds()
    name = repository or "user/name"
    sections = [
        _front(model, test, license, name),
        f"# {config.dataset.name}: {kinds['fusion']} with {kinds['neuron']}\n\n"
        "An audio-visual spiking neural network of scmrl-plugins. Written from the files of the run.",
        "\n".join(_usage(model, name)),
        "\n".join(_model(model)),
        "\n".join(_data(model, digests or {})),
        "\n".join(_figures(model, test)),
        "\n".join(_contribution(model, test)),
        "\n".join(_energy(energy)),
        "\n".join(_limits(model, test)),
        "\n".join(_origin(model, environment, license)),
    ]
    return "\n\n".join(sections) + "\n"


def _front(model: Any, test: Mapping[str, Any], license: str | None, name: str) -> str:
    """The metadata."""
    import yaml

    data: dict[str, Any] = {
        "library_name": "scmrl-plugins",
        "tags": ["spiking-neural-network", "audio-visual", "scmrl-plugins", *sorted(model.modalities)],
    }
    if license:
        data["license"] = license
    if test:
        metrics = {"accuracy": "accuracy", "macro_f1": "f1"}
        results = [
            {"type": kind, "name": key, "value": float(test[key])}
            for key, kind in metrics.items()
            if isinstance(test.get(key), int | float)
        ]
        dataset = {"name": model.config.dataset.name, "type": model.config.dataset.name, "split": "test"}
        task = {"type": "other", "name": "audio-visual classification"}
        data["metrics"] = list(metrics.values())
        data["model-index"] = [
            {"name": name.rpartition("/")[2], "results": [{"task": task, "dataset": dataset, "metrics": results}]}
        ]
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---"


def _usage(model: Any, name: str) -> Iterator[str]:
    yield "## Use\n"
    yield "```python\nimport scmrl_plugins\n"
    yield f'model = scmrl_plugins.load("hf://{name}")  # or a folder with these files'
    size, channels = model.config.model.image_size, model.channels
    shapes = ", ".join(f"{one} [B, {channels[one]}, {size}, {size}]" for one in model.modalities)
    yield f"output = model(audio=..., visual=...)  # {shapes} -> output.logits [B, {len(model.classes)}]\n```\n"
    yield f"`scmrl predict hf://{name} --audio a.wav --visual i.png` prepares files as in training."


def _model(model: Any) -> Iterator[str]:
    config = model.config
    yield "## Model\n"
    yield "| | |\n|---|---|"
    for kind, chosen in config.kinds().items():
        yield f"| {kind} | {_cell(', '.join(chosen) if isinstance(chosen, list) else chosen)} |"
    yield f"| parameters | {sum(p.numel() for p in model.parameters() if p.requires_grad):,} |"
    yield f"| time steps | {config.model.steps} |"
    shown = ", ".join(map(str, model.classes[:_LISTED])) + (", ..." if len(model.classes) > _LISTED else "")
    yield f"| classes | {len(model.classes)}: {_cell(shown)} |"


def _data(model: Any, digests: Mapping[str, str]) -> Iterator[str]:
    section = model.config.dataset
    yield "## Data\n"
    options = {key: value for key, value in section.options.items() if value is not None and key != "root"}
    yield f"`{section.name}`, with the settings\n"
    yield "\n".join(f"- `{key}`: {_cell(json.dumps(value, default=str))}" for key, value in options.items())
    digest = hashlib.sha256(json.dumps({"name": section.name, **options}, default=str, sort_keys=True).encode())
    yield ""
    for split, value in digests.items():
        yield f"- SHA-256 of the ids and labels of `{split}`: `{value}`"
    yield f"- SHA-256 of the settings: `{digest.hexdigest()}`"
    yield "- Licence of the data: that of its publisher; this card does not grant one."


def _figures(model: Any, test: Mapping[str, Any]) -> Iterator[str]:
    train = model.config.train
    yield "## Results\n"
    if not test:
        yield "The run has no test result."
        return
    yield f"Protocol `{train.protocol}`: {PROTOCOLS.get(train.protocol, '')}. Seed {train.seed}.\n"
    yield "| metric | test split |\n|---|---|"
    interval = test.get("interval")
    limits = f", 95 % interval {interval[0]:.2%} to {interval[1]:.2%}" if interval else ", no interval"
    yield f"| samples | {test.get('n')} |"
    yield f"| accuracy | {test['accuracy']:.2%}{limits} ({_cell(str(test.get('interval_method', '')))}) |"
    for key in ("macro_f1", "worst_group", "audio_alone", "visual_alone", "loss"):
        if isinstance(test.get(key), int | float):
            yield f"| {key.replace('_', ' ')} | {test[key]:.4f} |"


def _contribution(model: Any, test: Mapping[str, Any]) -> Iterator[str]:
    yield "## Contribution of each modality\n"
    alone = {one: test.get(f"{one}_alone") for one in model.modalities}
    known = {one: value for one, value in alone.items() if isinstance(value, int | float)}
    if len(model.modalities) == 1:
        yield f"The model uses {model.modalities[0]} only."
    for one, value in known.items():
        yield f"- {one} alone: accuracy {value:.2%} ({_cell(str(test.get('alone_method', '')))})"
    found = test.get("contribution") or {}
    if found:
        yield "\nWhat crosses in the fusion, by direction; changes of accuracy in points:\n"
        yield "| direction | rate | partner's share | shuffled | mean | zero |\n|---|---|---|---|---|---|"
        for direction, row in found.items():
            cells = [row.get(key) for key in ("rate", "partner_share", "shuffled", "mean", "zero")]
            shown = [f"{cell:.3g}" if isinstance(cell, int | float) else "-" for cell in cells]
            yield f"| {_cell(direction.replace('_', ' '))} | {' | '.join(shown)} |"
    elif not known and len(model.modalities) > 1:
        yield "Not measured."


def _energy(energy: Mapping[str, Any] | None) -> Iterator[str]:
    yield "## Energy\n"
    if not energy:
        yield "Not measured; `scmrl profile` estimates it."
        return
    yield (
        f"{energy['joules'] * 1e6:.3g} µJ a sample ({energy['samples']}): "
        f"{energy['multiply_accumulates']:,.0f} multiply-accumulates of 4.6 pJ and {energy['accumulates']:,.0f} "
        "accumulates of 0.9 pJ (45 nm, Horowitz 2014), arithmetic only, without memory access."
    )


def _limits(model: Any, test: Mapping[str, Any]) -> Iterator[str]:
    yield "## Limits\n"
    yield "- It knows only the classes above and gives a probability to each, also for other inputs."
    yield "- The figures are of the data set's test split; other recordings, speakers or cameras may do worse."
    if model.config.train.protocol == "published":
        yield "- The epoch was chosen on the test split, so the accuracy is optimistic."
    if test and not test.get("interval"):
        yield "- The accuracy has no interval, as the samples are of one group."
    dead = [one for one, row in (test.get("contribution") or {}).items() if row.get("dead")]
    for direction in dead:
        yield f"- Nothing crosses in the fusion: {_cell(direction.replace('_', ' '))}."
    yield "- Arithmetic differs between processors; where rounding moves a spike, so does a probability."


def _origin(model: Any, environment: Mapping[str, Any], license: str | None) -> Iterator[str]:
    yield "## Origin\n"
    packages = environment.get("packages") or {}
    shown = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    yield f"- Made {environment.get('created', 'at an unknown time')} with {_cell(shown) or 'unknown versions'}."
    if isinstance(imported := environment.get("imported"), dict):
        file = _cell(Path(str(imported.get("file"))).name)
        yield f"- Weights from `{file}`, SHA-256 `{imported.get('sha256')}`."
    yield f"- Licence of the weights: {license or 'not stated'}."
    yield "\n## How to cite\n"
    yield "Cite scmrl-plugins, this repository with its commit, and the work behind the components:\n"
    yield "- S-CMRL (fusion `cmrl`, backbone `spikformer`): arXiv 2502.12488"
    yield "- BrainCog: Zeng et al. 2023, Patterns 4, 100789"


def _results(run: Path | None) -> dict[str, Any]:
    """The last test result in the metrics; empty if there is none."""
    if run is None:
        return {}
    path = run / "metrics.jsonl"
    tested = [line for line in read_metrics(path) if line.get("split") == "test"]
    found = tested[-1] if tested else {}
    if found and not isinstance(found.get("accuracy"), int | float):
        raise UserError(f"{path}: the test result has no accuracy; restore the file")
    return found


def _environment(run: Path | None) -> dict[str, Any]:
    return files.read_table(run / "environment.json") if run and (run / "environment.json").is_file() else {}


def _cell(text: str) -> str:
    """Text in one line, without what Markdown would read as a table or as HTML."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").replace("`", "'").split())

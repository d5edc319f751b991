from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scmrl_plugins.cli.common import options

if TYPE_CHECKING:
    from scmrl_plugins.core.model.assembly import Assembly

NOISE = {"noise": {"audio": [-5.0, 15.0], "visual": [-5.0, 15.0]}}
SAME: dict[str, Any] = {"dataset": {"name": "av-digits"}, "data": NOISE, "train": {"epochs": 3}}
"""Which digit is said and shown? Either modality suffices."""


def match(trained: Path) -> dict[str, Any]:
    """Is the digit said the digit shown? Only a fusion can tell: on the trained modalities of another run."""
    return {
        "dataset": {"name": "av-digits", "task": "match"},
        "fusion": {"name": "summary"},
        "train": {
            "epochs": 2,
            "pretrained": {"audio": str(trained), "visual": str(trained)},
            "freeze": ["audio", "visual"],
            "freeze_feed_forward": False,
        },
    }


@click.command("demo")
@options.device
@click.option(
    "-o", "--output", "run", metavar="RUN", show_default="runs/demo-NNN", help="Run directory to create."
)
def command(device: str, run: str | None) -> None:
    """Train S-CMRL, then a fusion where both modalities are needed.

    On the built-in digits, the first run learns which digit is said and shown. The second one, RUN-match, learns
    whether they are the same digit, which neither modality tells alone; its report shows how much crosses between
    them. Takes about two minutes on a CPU, then prints commands to try next. Requires the extra demo:
    pip install 'scmrl-plugins[demo]'.
    """
    from scmrl_plugins.cli.common.training import fit
    from scmrl_plugins.core.config.layers import compose
    from scmrl_plugins.core.model.assembly import assemble
    from scmrl_plugins.core.run.directory import check_free, next_directory
    from scmrl_plugins.core.system import devices

    target = devices.resolve(device)
    if target.type != "cpu":  # torch's compiler takes half a minute at first use, more than it saves here
        os.environ.setdefault("SCMRL_COMPILE", "never")
    path = check_free(next_directory(Path("runs"), "demo") if run is None else run)
    second = check_free(path.with_name(f"{path.name}-match"))
    parts = assemble(compose(options=SAME))
    trained = fit(parts, target, path)
    click.echo("now a task that needs both modalities: is the digit said the digit shown?")
    matched = fit(assemble(compose(options=match(trained.path))), target, second)
    audio, visual = _write_example(trained.path / "examples", parts)
    click.echo(f"reports: {trained.report_file} and {matched.report_file}")
    click.echo("try next:")
    click.echo(f"  scmrl predict {trained.path} --audio {audio} --visual {visual}")
    click.echo(f"  scmrl eval {trained.path} --visual-snr 0")
    click.echo(f"  scmrl eval {matched.path} --contribution")
    click.echo(f"  scmrl train -c {matched.config_file} --fusion late")


def _write_example(folder: Path, parts: Assembly) -> list[Path]:
    """Write the audio and the image of the first test sample as files, to try ``scmrl predict`` on."""
    row = parts.dataset.splits()["test"][0]
    label = parts.dataset.classes[row["label"]]
    folder.mkdir(exist_ok=True)
    paths = {"audio": folder / f"{label}.wav", "visual": folder / f"{label}.png"}
    for column, path in paths.items():
        path.write_bytes(row[column]["bytes"])
    return list(paths.values())

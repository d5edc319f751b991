from __future__ import annotations

from pathlib import Path

import click

from scmrl_plugins.cli.common import completion, options
from scmrl_plugins.registry import UserError

_NEEDED = ("fastapi", "uvicorn", "python_multipart")
INSTALL = "scmrl serve needs FastAPI and uvicorn: pip install 'scmrl-plugins[serve]'"

_OPTIONS = (
    click.option(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="Address to listen at; others may then connect."
    ),
    click.option(
        "--port", type=click.IntRange(0, 65_535), metavar="N", default=8000, help="Port; 0 for any free one."
    ),
    click.option(
        "--max-size",
        type=click.FloatRange(0.01, 1024),
        metavar="MB",
        default=32.0,
        help="Largest request in MB (2^20 bytes).",
    ),
    click.option(
        "--max-seconds",
        type=click.FloatRange(0.1, 86_400),
        metavar="SECONDS",
        default=30.0,
        help="Longest sound or video.",
    ),
    click.option(
        "--queue",
        type=click.IntRange(0, 10_000),
        metavar="N",
        default=16,
        help="Requests that may wait; more get 429.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(0.1, 3600),
        metavar="SECONDS",
        default=30.0,
        help="Time in which a request has to arrive.",
    ),
    click.option(
        "--convert/--no-convert",
        default=True,
        help="Resample audio and resize images that do not match the training data, or refuse them.",
    ),
)


@click.command("serve")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@options.several(_OPTIONS)
@options.device
@options.plugin
def command(
    run: str,
    host: str,
    port: int,
    max_size: float,
    max_seconds: float,
    queue: int,
    timeout: float,
    convert: bool,
    device: str,
) -> None:
    """Classify files in a browser or by HTTP with the model of RUN.

    A page for sounds, pictures and videos, microphone and camera; POST /predict, GET /health, and /docs with their
    description. Only this machine can connect unless --host says otherwise.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in _NEEDED):
        raise UserError(INSTALL)
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import devices
    from scmrl_plugins.serve import app, server
    from scmrl_plugins.serve.answer import Answers
    from scmrl_plugins.serve.uploads import Limits

    opened, target = open_run(run), devices.resolve(device)
    limits = Limits(int(max_size * 2**20), timeout)
    answers = Answers(opened, target, max_seconds, convert=convert)
    with server.listen(host, port) as listening:
        answers.warm_up()
        application = app.create(answers, Path(run).resolve().name, limits, queue)
        server.serve(
            application, listening, timeout, lambda url: click.echo(f"serving {run} at {url} (Ctrl-C ends)")
        )

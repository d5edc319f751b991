from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scmrl_plugins.cli.common import completion, options
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import printable

if TYPE_CHECKING:
    from scmrl_plugins.cli.common import predictions
    from scmrl_plugins.core.evaluation.predict import Failure, Prediction, Predictor, Sample
    from scmrl_plugins.core.interfaces import Files

_FILE = click.Path(path_type=Path)
_SOURCES = ("audio", "visual", "video", "folder", "manifest")


_INPUTS = (
    click.option("--audio", type=_FILE, metavar="FILE", help="Audio file to classify."),
    click.option("--visual", type=_FILE, metavar="FILE", help="Image or video file to classify."),
    click.option("--video", type=_FILE, metavar="FILE", help="Video file with sound: both of them."),
    click.option(
        "--folder", type=_FILE, metavar="DIR", help="Classify all files below a folder, paired by their stems."
    ),
    click.option(
        "--manifest",
        type=_FILE,
        metavar="FILE",
        help="Classify the rows of a table (.csv, .jsonl, .parquet) with the columns audio, visual or video, "
        "and start and seconds where a row is a part of its files.",
    ),
    click.option(
        "--window",
        type=click.FloatRange(0.01, 86_400),
        metavar="SECONDS",
        help="Classify parts of this duration instead of complete recordings.",
    ),
    click.option(
        "--hop",
        type=click.FloatRange(0.001, 86_400),
        metavar="SECONDS",
        show_default="--window",
        help="Time from the start of one window to that of the next.",
    ),
)
_OUTPUTS = (
    click.option(
        "--top-k",
        type=click.IntRange(min=1),
        metavar="K",
        show_default="all; in tables 10, or 3 of several samples",
        help="Most probable classes to give of each sample.",
    ),
    click.option(
        "-o",
        "--output",
        "table",
        type=options.output_file,
        metavar="FILE",
        help="CSV file to write the predictions to, a row a sample.",
    ),
    options.json_of("Print JSON: one document for one sample, or a line for each of several samples or windows."),
)


@click.command("predict")
@click.argument("run", metavar="RUN", shell_complete=completion.runs)
@options.several(_INPUTS)
@click.option(
    "--convert", is_flag=True, help="Resample the audio and resize the image to match the training data."
)
@options.several(_OUTPUTS)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, metavar="N", help="Samples to compute at once."
)
@options.optimize
@options.device
@options.plugin
def command(
    run: str,
    window: float | None,
    hop: float | None,
    batch_size: int,
    top_k: int | None,
    table: Path | None,
    convert: bool,
    optimize: bool,
    device: str,
    as_json: bool,
    **files: Path | None,
) -> None:
    """Classify sounds, pictures, pairs of both or videos with sound.

    Prints the labels that the model of RUN predicts, with their probabilities. Files that cannot be used are a
    line each on standard error; the exit code is 2 if no sample could be classified.
    """
    from scmrl_plugins.cli.common import predictions
    from scmrl_plugins.core.evaluation.predict import Predictor
    from scmrl_plugins.core.model.folding import optimize as fold
    from scmrl_plugins.core.run.directory import open_run
    from scmrl_plugins.core.system import devices

    many = _check(files, window, hop, table)
    target = devices.resolve(device)
    parts = open_run(run).assemble()
    folded = {"folded": fold(parts.model)} if optimize else None
    predictor = Predictor(parts, target, convert=convert)
    started = time.perf_counter()
    with predictions.csv_file(table, top_k) as sinks:
        if as_json:
            sinks.append(predictions.Lines(top_k) if many else predictions.Document(top_k, folded))
        elif table is None:
            sinks.append(predictions.Samples(top_k) if many else predictions.Classes(top_k))
        span = None if window is None else (window, hop or window)
        samples = _samples(predictor, files, span) if many else _one(predictor, files)
        done, failed = _write(predictor.predictions(samples, batch_size), sinks, many)
    seconds = time.perf_counter() - started
    if table is not None and not as_json:
        click.echo(f"predictions: {table}")
    if folded and not as_json:
        click.echo(f"batch norm folded into {folded['folded']} convolutions")
    what, failures = "windows" if window else "samples", f"; {failed:,} failed" if failed else ""
    counted = f"{done:,} {what[: -1 if done == 1 else None]}"
    click.echo(f"{counted} in {seconds:.2f} s, {done / seconds:.1f} {what}/s on {target}{failures}", err=True)


def _check(files: Mapping[str, Path | None], window: float | None, hop: float | None, table: Path | None) -> bool:
    """Whether there may be several samples; ``UserError`` for options that do not go together."""
    given = {name for name, path in files.items() if path is not None}
    if "video" in given and given & {"audio", "visual"}:
        raise UserError("--video gives both sound and picture: leave out --audio and --visual, or --video")
    if len(given) > 1 and given != {"audio", "visual"}:
        raise UserError(f"{' and '.join(f'--{name}' for name in _SOURCES if name in given)}: give one of them")
    if not given:
        raise UserError("nothing to classify: give --audio and --visual, --video, --folder or --manifest")
    if hop is not None and window is None:
        raise UserError("--hop belongs to --window: give the duration of the windows, too")
    if not all(math.isfinite(value) for value in (window or 0.0, hop or 0.0)):
        raise UserError("--window and --hop are numbers of seconds, such as --window 2 --hop 0.5")
    if table is not None and table.suffix.lower() != ".csv":
        raise UserError(f"-o {table}: name a file that ends in .csv")
    return window is not None or bool(given & {"folder", "manifest"})


def _pair(files: Mapping[str, Path | None]) -> Files:
    """The files of the one sample, named after them."""
    from scmrl_plugins.core.interfaces import Files

    audio, visual = files["video"] or files["audio"], files["video"] or files["visual"]
    return Files(" ".join(dict.fromkeys(path.name for path in (audio, visual) if path is not None)), audio, visual)


def _one(predictor: Predictor, files: Mapping[str, Path | None]) -> Iterator[Sample]:
    """The one sample; what is wrong with its files is an error."""
    from scmrl_plugins.core.evaluation.predict import Sample

    pair = _pair(files)
    yield Sample(pair.name, predictor.inputs(pair.audio, pair.visual))


def _samples(
    predictor: Predictor, files: Mapping[str, Path | None], span: tuple[float, float] | None
) -> Iterator[Sample | Failure]:
    """All samples, after those that are none: files without a partner, and rows that name no file."""
    from scmrl_plugins.core.evaluation.predict import Failure
    from scmrl_plugins.core.interfaces import BadFileError

    bad: list[BadFileError] = []
    if (source := files["folder"] or files["manifest"]) is None:
        found: Sequence[Files] = [_pair(files)]
        predictor.given(found[0].audio, found[0].visual)  # which says what is missing
    elif source.exists() and source.is_dir() != (files["folder"] is not None):
        raise UserError(
            f"{source}: {'a folder; give --folder' if source.is_dir() else 'no folder; give --manifest'}"
        )
    else:
        found = predictor.parts.dataset.find(source, bad)
        if span and any(one.window for one in found):
            raise UserError(f"{source}: its rows say which parts to classify; leave out --window")
    for error in bad:
        yield Failure(error.path, error.reason)
    yield from predictor.samples(found, span)


def _write(
    batches: Iterator[list[Prediction | Failure]], sinks: Sequence[predictions.Sink], many: bool
) -> tuple[int, int]:
    """Write the predictions, and notes and failures to standard error; how many samples there were of each.

    A failure is an error where there is one sample, and so is it where all fail.
    """
    from scmrl_plugins.core.data.transform import collect_repairs
    from scmrl_plugins.core.evaluation.predict import Failure

    done = failed = 0
    noted: set[str] = set()
    with collect_repairs() as repairs:
        for batch in batches:
            for note in dict.fromkeys(map(str, repairs)):
                if note not in noted:
                    click.echo(f"note: {printable(note)}", err=True)
            noted.update(map(str, repairs))
            repairs.clear()
            for one in batch:
                if not isinstance(one, Failure):
                    done += 1
                    for sink in sinks:
                        sink.add(one)
                elif many:
                    failed += 1
                    part = f" at {one.window[0]:g} s" if one.window else ""
                    click.echo(f"failed: {printable(f'{one.name}{part}: {one.reason}')}", err=True)
                else:
                    raise UserError(f"{one.name}: {one.reason}")
    if not done:
        raise UserError(f"nothing could be classified: {failed:,} of {failed:,} failed")
    for sink in sinks:
        sink.end()
    return done, failed

"""Run directories: configuration, environment, weights and results of a training."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.run import environment, hub, pretrained, weights
from scmrl_plugins.core.run.metrics_file import read_metrics
from scmrl_plugins.core.system import files
from scmrl_plugins.registry import UserError, catalogue

_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
Origins = dict[str, dict[str, Any]]
"""By modality the run that its weights are from, its digest, and what was copied."""
_POSITION = re.compile(r"epoch-(\d+)(?:-step-(\d+))?\.safetensors")


@dataclass(frozen=True)
class Run:
    """A directory with ``config.toml``, ``environment.json``, ``model.safetensors``, ``metrics.jsonl``,
    ``checkpoints/``, after training ``report.html``, and ``skipped.json`` if bad files were left out.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.toml"

    @property
    def weights_file(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    def config(self) -> ExperimentConfig:
        """The configuration of the run, with all defaults of the version that made it."""
        return layers.read_run(self.config_file)

    def assemble(self) -> assembly.Assembly:
        """Assemble the parts of the run, with the saved weights."""
        try:
            parts = assembly.assemble(self.config())
        except UserError as error:
            raise UserError(f"{error}{self._absent_plugins()}") from error.__cause__
        weights.load_weights(self.weights_file, parts.model)
        parts.model.run = self.path
        return parts

    def load_model(self) -> AudioVisualModel:
        """The model with the saved weights, in evaluation mode."""
        return self.assemble().model.eval()

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        return read_metrics(self.metrics_file)

    def _absent_plugins(self) -> str:
        """Plugins of the run that are not installed, as the end of a message; empty if none is missing."""
        plugins = catalogue().plugins
        names = {plugin.name for plugin in plugins}
        distributions = {plugin.distribution for plugin in plugins}

        def remedy(recorded: Mapping[str, str]) -> str:
            # The run may be a stranger's: no command is suggested that holds more than a name.
            if "file" in recorded:
                file = recorded["file"]
                command = f"--plugin {shlex.quote(file)}" if file.isprintable() else "a file of no printable name"
                return "" if recorded["name"] in names else command
            # By distribution, since a package may rename its plugins.
            name = recorded["distribution"]
            command = f"pip install {name}" if _DISTRIBUTION.fullmatch(name) else "a package of no valid name"
            return "" if name in distributions else command

        try:
            recorded = files.read_json(self.path / "environment.json")["plugins"]
            remedies = dict.fromkeys(filter(None, map(remedy, recorded)))
        except (OSError, UserError, AttributeError, KeyError, TypeError):
            return ""
        return f"; the run used plugins that are not installed: {', '.join(remedies)}" if remedies else ""

    def write_config(self, config: ExperimentConfig) -> None:
        """Replace ``config.toml``."""
        files.write_text(self.config_file, layers.to_toml(config))

    def write_metrics(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Replace ``metrics.jsonl``."""
        files.write_text(self.metrics_file, "".join(files.to_json(line) + "\n" for line in lines))

    def add_metrics(self, line: Mapping[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``; ``UserError`` if the run is gone."""
        self.check_there()
        files.append_line(self.metrics_file, files.to_json(line))

    def there(self) -> bool:
        """Whether the run is there; ``UserError`` if that cannot be looked up."""
        try:
            return self.config_file.is_file()
        except OSError as error:
            raise UserError(f"{self.path}: {error.strerror or error}; make it readable") from None

    def check_there(self) -> None:
        """``UserError`` if the run was moved or deleted, so that no part of it is made anew."""
        if not self.there():
            raise UserError(
                f"{self.path}: moved or deleted while it was trained; resume it where it is now: scmrl train RUN"
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for training. Raises ``UserError`` if it is locked or not writable."""
        files.check_creatable(self.path, "make it writable or copy it")
        with files.locked(self.path, self.path / "checkpoints" / ".lock", "trains this run", "copy it"):
            files.remove_partial(self.path)
            files.remove_partial(self.path / "checkpoints")
            yield

    def write_skipped(self, bad: Sequence[tuple[str, str]]) -> None:
        """Write the bad files that were left out, with reasons, to ``skipped.json``; no file if there are none."""
        entries = [{"path": path, "reason": reason} for path, reason in bad]
        if entries:
            files.write_json(self.path / "skipped.json", entries)

    def checkpoints(self) -> list[Path]:
        """Saved training states, oldest first."""
        matches = [(_POSITION.fullmatch(path.name), path) for path in (self.path / "checkpoints").glob("epoch-*")]
        by_position = [((int(match[1]), int(match[2] or 0)), path) for match, path in matches if match]
        return [path for _, path in sorted(by_position)]

    def checkpoint_file(self, epoch: int, step: int = 0) -> Path:
        """Path of the training state after ``epoch`` epochs and ``step`` steps of the next one."""
        steps = f"-step-{step:07d}" if step else ""
        return self.path / "checkpoints" / f"epoch-{epoch:05d}{steps}.safetensors"


def check_free(path: str | Path) -> Path:
    """The path, if a run can be created there.

    Raises ``UserError`` if it already exists and is not empty, or cannot be written.
    """
    path, other = Path(path), "choose another directory with -o"
    files.check_name(path)
    try:
        occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; {other}") from None
    if occupied:
        raise UserError(f"{path}: already exists; {other}")
    files.check_creatable(path, other)
    return path


def create_run(
    path: str | Path,
    parts: assembly.Assembly,
    origins: Origins | None = None,
    imported: Mapping[str, Any] | None = None,
) -> Run:
    """Create a run directory with configuration, environment and initial weights, pretrained ones included.

    ``origins``: what ``load_pretrained`` returned, if it was called for these parts; it is called otherwise.
    ``imported``: the file that the weights are from, for ``environment.json``.
    Raises ``UserError`` if the path already exists and is not empty, or cannot be written, which leaves nothing
    behind, like ``load_pretrained``, and for a teacher that is missing.
    """
    run = Run(check_free(path))
    path = run.path
    if origins is None:
        origins = load_pretrained(parts)
    described = environment.describe(parts.config)
    described |= {key: runs for key, runs in (("pretrained", origins), ("teachers", _teachers(parts))) if runs}
    if imported:
        described["imported"] = dict(imported)
    with files.making(path):
        files.write_json(path / "environment.json", described)
        (path / "checkpoints").mkdir()
        run.write_metrics([])
        weights.save_weights(run.weights_file, parts.model)
        # Written last: a directory with this file is a run.
        run.write_config(parts.config)
    return run


def open_run(path: str | Path, **options: Any) -> Run:
    """Open an existing run, a directory or ``hf://USER/NAME``. Raises ``UserError`` if there is none.

    ``options``: how it is fetched from the Hub, as in ``huggingface_hub.hf_hub_download``.
    """
    run = Run(hub.fetch(str(path), **options) if hub.is_remote(path) else Path(path))
    files.check_name(run.path)
    if not run.config_file.is_file():
        raise UserError(f"{path}: no run there (no config.toml); train one with scmrl train -o {path}")
    return run


_FETCHING = ("revision", "cache_dir", "force_download", "local_files_only", "token")


def from_pretrained(name: str, options: Mapping[str, Any]) -> AudioVisualModel:
    """The model of a folder or of a repository on the Hub, which ``AudioVisualModel.from_pretrained`` calls."""
    if Path(name).is_dir():
        return open_run(name).load_model()
    fetching = {key: options[key] for key in _FETCHING if options.get(key) is not None}
    return open_run(f"{hub.SCHEME}{name.removeprefix(hub.SCHEME)}", **fetching).load_model()


def open_trained(path: str | Path) -> Run:
    """Open a run that was trained to its end. Raises ``UserError`` if there is none."""
    run = open_run(path)
    if not any(line.get("split") == "test" for line in run.metrics()):
        raise UserError(f"not trained to the end; resume it with scmrl train {path}")
    return run


def load_pretrained(parts: assembly.Assembly) -> Origins:
    """Initialise the modalities of ``train.pretrained``; by modality the run, its digest and what was copied.

    Raises ``UserError`` for a run that is missing, not trained to the end, or does not fit.
    """
    origins: Origins = {}
    for modality, path in parts.config.train.pretrained.items():
        try:
            run = open_trained(path)
            copied = pretrained.initialise(parts, modality, run.assemble())
        except UserError as error:
            source = parts.config.source(f"train.pretrained.{modality}")
            raise UserError(f"train.pretrained.{modality} = {path}: {error}{source}") from error.__cause__
        digest = pretrained.file_digest(run.weights_file)
        origins[modality] = {"run": str(run.path.resolve()), "sha256": digest, "parts": copied}
    return origins


def _teachers(parts: assembly.Assembly) -> dict[str, dict[str, Any]]:
    """The runs of the modulation's teachers by modality, and their digests; ``UserError`` if one is missing."""
    runs = parts.modulation.teachers if parts.modulation is not None else {}
    return {
        modality: {
            "run": str(Path(path).resolve()),
            "sha256": pretrained.file_digest(open_trained(path).weights_file),
        }
        for modality, path in runs.items()
    }


def next_directory(root: Path, stem: str) -> Path:
    """The first of ``root/stem-001``, ``root/stem-002``, ... that does not exist."""
    number = 1
    while (path := root / f"{stem}-{number:03d}").exists():
        number += 1
    return path

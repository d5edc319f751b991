"""Opening Hugging Face data sets on the hub, in a folder or in files, with one-line error messages."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from scmrl_plugins.core.interfaces import cache_dir
from scmrl_plugins.plugins.datasets.hub.csv_types import csv_options
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

    Rows: TypeAlias = datasets.Dataset | datasets.IterableDataset

READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".arrow": "arrow"}
"""datasets' readers of tables, by the ending of the file name."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""Usual names of splits, the likeliest first."""
ANSWER_SECONDS = 10
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """Where a data set is: ``user/name`` on the hub, a folder, or tables of ``READERS``, also as a glob."""

    path: str | Sequence[str]
    subset: str | None = None
    revision: str | None = None
    streaming: bool = False

    def __str__(self) -> str:
        return self.path if isinstance(self.path, str) else ", ".join(self.path)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: a worker does not need the opened data set."""
        return {
            "path": self.path,
            "subset": self.subset,
            "revision": self.revision,
            "streaming": self.streaming,
        }

    @functools.cached_property
    def on_hub(self) -> bool:
        """Whether the path is an id of the hub: not a table, nor a file or folder here."""
        if not isinstance(self.path, str) or not _ID.fullmatch(self.path):
            return False
        return Path(self.path).suffix.lower() not in READERS and not Path(self.path).exists()

    @functools.cached_property
    def base(self) -> str:
        """Where relative names in cells start: the folder, that of the tables, or the repository on the hub."""
        if self.on_hub:
            return f"hf://datasets/{self.path}@{self.revision or 'main'}"
        return str(self._folder or os.path.commonpath([file.parent for file in self._files]))

    @property
    def _folder(self) -> Path | None:
        folder = Path(str(self.path)).expanduser()
        return folder.absolute() if isinstance(self.path, str) and folder.is_dir() else None

    @functools.cached_property
    def _files(self) -> list[Path]:
        """The tables, absolute; ``UserError`` if there are none."""
        files: list[Path] = []
        for name in [self.path] if isinstance(self.path, str) else self.path:
            path = Path(name).expanduser().absolute()
            matches = [path] if path.exists() else list(map(Path, sorted(glob(str(path), recursive=True))))  # noqa: PTH207
            files += matches
            if not matches:
                raise UserError(
                    f"{name}: no such file or folder, nor an id of the hub as user/name; correct dataset.path"
                )
        for file in files:
            if file.suffix.lower() not in READERS or not file.is_file():
                raise UserError(
                    f"{file}: not a table that can be read ({', '.join(READERS)}); set dataset.path to tables, to "
                    f"one folder or to an id of the hub"
                )
        return files

    def open(self) -> dict[str, Rows]:
        """Every split by its name, not decoded: downloaded into Arrow files, or as streams."""
        if self._folder and any((self._folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return self._saved(self._folder)
        with self.reported():
            if self.streaming:
                return dict(self._builder.as_streaming_dataset())
            self._builder.download_and_prepare()
            return dict(self._builder.as_dataset())

    def identity(self) -> tuple[str, str]:
        """The configuration and the hash of the files, which change when they do."""
        with self.reported():
            return self._builder.config_id, str(self._builder.hash)

    def commit(self) -> str | None:
        """The commit on the hub that the revision names; ``None`` if it is unknown."""
        if not self.on_hub:
            return None
        _, commit = self.identity()
        return commit if _COMMIT.fullmatch(commit) else None

    def _saved(self, folder: Path) -> dict[str, Rows]:
        """The splits that ``save_to_disk`` wrote."""
        import datasets

        if self.streaming or self.subset:
            raise UserError(
                f"{folder}: written by save_to_disk, which is read in place; leave dataset.streaming and "
                f"dataset.subset out"
            )
        with self.reported():
            loaded = datasets.load_from_disk(str(folder))
            return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}

    @functools.cached_property
    def _builder(self) -> Any:
        """datasets' builder for these files, which are looked up once; see ``csv_options``."""
        import datasets

        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        load = self._loader()
        builder = load()
        if self.on_hub and _COMMIT.fullmatch(self.revision or "") and self.revision != builder.hash:
            raise UserError(  # offline, datasets takes any revision that it has
                f"{self}: only revision {builder.hash} is here; connect to the hub, or change dataset.revision"
            )
        if builder.name == "csv":
            return load(**csv_options(builder.config.data_files))
        if self.on_hub or builder.name in READERS.values():
            return builder
        folder = str(self._folder)
        if not any(file.suffix in READERS for file in Path(folder).rglob("metadata.*")):
            raise UserError(
                f"{folder}: a folder of single files ({builder.name}), and a table of them is needed: set "
                f"dataset.path to it, or use --dataset av-folder"
            )
        # This reader of files beside a metadata table does not encode them; that of sounds needs torchcodec.
        return datasets.load_dataset_builder("imagefolder", data_dir=folder, cache_dir=_cache())

    def _loader(self) -> Callable[..., Any]:
        """What loads datasets' builder, with further options of its reader."""
        import datasets

        if self.on_hub:
            _check_connection()
            return functools.partial(
                datasets.load_dataset_builder, str(self.path), self.subset, revision=self.revision
            )
        if self.revision or (self.subset and not self._folder):
            name = "revision" if self.revision else "subset"
            raise UserError(f"{self}: files here have no {name}; leave dataset.{name} out")
        load = functools.partial(datasets.load_dataset_builder, cache_dir=_cache())
        if self._folder:
            return functools.partial(load, str(self._folder), self.subset)
        return functools.partial(load, self._reader(), data_files=self._by_split())

    def _reader(self) -> str:
        readers = sorted({READERS[file.suffix.lower()] for file in self._files})
        if len(readers) > 1:
            raise UserError(
                f"{self}: tables of several kinds ({', '.join(readers)}); set dataset.path to one kind"
            )
        return readers[0]

    def _by_split(self) -> dict[str, list[str]]:
        """The tables by split, by their own or their folders' names; ``train`` where these name none."""
        by_split: dict[str, list[str]] = {}
        for file in self._files:
            words = set(re.split(r"[^a-z]+", os.path.relpath(file, self.base).lower()))
            split = next((split for split, names in NAMES.items() if words & {*names}), "train")
            by_split.setdefault(split, []).append(str(file))
        return by_split

    @contextlib.contextmanager
    def reported(self) -> Iterator[None]:
        """Raise whatever datasets, its readers and its connections raise as ``UserError``; they log nothing."""
        import datasets

        verbosity = datasets.logging.get_verbosity()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{self}: {self._explained(error)}") from error
        finally:
            datasets.logging.set_verbosity(verbosity)

    def _explained(self, error: Exception) -> str:
        """The reason of an error and the remedy, in one line."""
        from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

        cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        text = " ".join(str(cause).split())[:400].rstrip(".")
        if "scripts are no longer supported" in text:
            return (
                "requires a loading script, which is not executed; the hub may have it as tables: set "
                "dataset.revision to refs/convert/parquet"
            )
        if isinstance(error, DatasetNotFoundError):
            return f"{text}; check dataset.path and dataset.revision, and set HF_TOKEN if it is private or gated"
        if isinstance(error, ConnectionError):
            return (
                f"{text}; it is not in the cache either: connect to the hub (without HF_HUB_OFFLINE) once, or set "
                f"dataset.path to files that are here"
            )
        if "BuilderConfig" in text or "Config name is missing" in text:
            return f"{text}; set dataset.subset to one of them"
        if isinstance(cause, ImportError):
            return f"{text}, or give the samples as parquet files"
        return f"cannot be read ({type(cause).__name__}: {text}); check its files and the free space"


def _cache() -> str:
    """Where datasets keeps what it reads of files that are here."""
    return str(cache_dir() / "datasets")


def _check_connection() -> None:
    """``UserError`` if the hub does not answer, which datasets would notice after half a minute.

    Nothing is checked with ``HF_HUB_OFFLINE``.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWER_SECONDS)
    except Exception as error:
        raise UserError(
            f"{constants.ENDPOINT} does not answer ({type(error).__name__}); connect to it, set HF_HUB_OFFLINE=1 "
            f"to use what was downloaded before, or set dataset.path to files that are here"
        ) from error

"""Hugging Face data sets on the hub, in a folder or in files: opened, with what can go wrong said in one line."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from scmrl_plugins.core.interfaces import cache_dir
from scmrl_plugins.registry import UserError

if TYPE_CHECKING:
    import datasets

    Rows: TypeAlias = datasets.Dataset | datasets.IterableDataset

READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".arrow": "arrow"}
"""Which of datasets' readers takes a table, by the ending of its name."""
NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""What splits are called, the likeliest first."""
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
        """The fields alone: a worker has no need of what was opened."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @functools.cached_property
    def on_hub(self) -> bool:
        """Whether the path is an id, no table, and nothing of that name is here."""
        if not isinstance(self.path, str) or not _ID.fullmatch(self.path):
            return False
        return Path(self.path).suffix.lower() not in READERS and not Path(self.path).exists()

    @functools.cached_property
    def base(self) -> str:
        """What a relative name in a cell starts from: the folder, that of the tables, or the hub's own."""
        if self.on_hub:
            return f"hf://datasets/{self.path}@{self.revision or 'main'}"
        return str(self._folder or os.path.commonpath([file.parent for file in self._files]))

    @property
    def _folder(self) -> Path | None:
        folder = Path(str(self.path)).expanduser()
        return folder.absolute() if isinstance(self.path, str) and folder.is_dir() else None

    @functools.cached_property
    def _files(self) -> list[Path]:
        """The tables, absolute; ``UserError`` where there are none."""
        found: list[Path] = []
        for name in [self.path] if isinstance(self.path, str) else self.path:
            path = Path(name).expanduser().absolute()
            here = [path] if path.exists() else map(Path, sorted(glob(str(path), recursive=True)))  # noqa: PTH207
            known = len(found)
            found += here
            if len(found) == known:
                raise UserError(
                    f"{name}: no such file or folder, nor an id of the hub as user/name; correct dataset.path"
                )
        for file in found:
            if file.suffix.lower() not in READERS or not file.is_file():
                raise UserError(
                    f"{file}: not a table that can be read ({', '.join(READERS)}); set dataset.path to tables, to "
                    f"one folder or to an id of the hub"
                )
        return found

    def open(self) -> dict[str, Rows]:
        """Every split by its name, nothing decoded; downloaded and kept as Arrow files, or as streams."""
        if self._folder and any((self._folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
            return self._saved(self._folder)
        with self._one_line():
            if self.streaming:
                return dict(self._builder.as_streaming_dataset())
            self._builder.download_and_prepare()
            return dict(self._builder.as_dataset())

    def identity(self) -> tuple[str, str]:
        """What tells these files from others, or from themselves as they were."""
        with self._one_line():
            return self._builder.config_id, str(self._builder.hash)

    def commit(self) -> str | None:
        """The commit of the hub that the revision stands for; none where it is not known."""
        if not self.on_hub:
            return None
        _, commit = self.identity()
        return commit if _COMMIT.fullmatch(commit) else None

    def _saved(self, folder: Path) -> dict[str, Rows]:
        """What ``save_to_disk`` wrote."""
        import datasets

        if self.streaming or self.subset:
            raise UserError(
                f"{folder}: written by save_to_disk, which is read in place; leave dataset.streaming and "
                f"dataset.subset out"
            )
        with self._one_line():
            found = datasets.load_from_disk(str(folder))
            return dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}

    @functools.cached_property
    def _builder(self) -> Any:
        """datasets' own object for these files, which are looked up once."""
        import datasets

        if not sys.stderr.isatty():
            datasets.disable_progress_bars()
        if self.on_hub:
            _reach()
            builder = datasets.load_dataset_builder(str(self.path), self.subset, revision=self.revision)
            if _COMMIT.fullmatch(self.revision or "") and self.revision != builder.hash:
                raise UserError(  # offline, datasets takes whatever of this name it has
                    f"{self}: only revision {builder.hash} is here; connect to the hub, or change dataset.revision"
                )
            return builder
        if self.revision or (self.subset and not self._folder):
            name = "revision" if self.revision else "subset"
            raise UserError(f"{self}: files here have no {name}; leave dataset.{name} out")
        kept = str(cache_dir() / "datasets")
        if not self._folder:
            return datasets.load_dataset_builder(self._reader(), data_files=self._by_split(), cache_dir=kept)
        folder = str(self._folder)
        builder = datasets.load_dataset_builder(folder, self.subset, cache_dir=kept)
        if builder.name in READERS.values():
            return builder
        if not any(file.suffix in READERS for file in Path(folder).rglob("metadata.*")):
            raise UserError(
                f"{folder}: a folder of single files ({builder.name}), and a table of them is needed: set "
                f"dataset.path to it, or use --dataset av-folder"
            )
        # Of the readers of files beside a metadata table this one encodes nothing; sounds need torchcodec there.
        return datasets.load_dataset_builder("imagefolder", data_dir=folder, cache_dir=kept)

    def _reader(self) -> str:
        readers = sorted({READERS[file.suffix.lower()] for file in self._files})
        if len(readers) > 1:
            raise UserError(
                f"{self}: tables of several kinds ({', '.join(readers)}); set dataset.path to one kind"
            )
        return readers[0]

    def _by_split(self) -> dict[str, list[str]]:
        """The tables by the split that their own or their folder's name tells, ``train`` where it tells none."""
        found: dict[str, list[str]] = {}
        for file in self._files:
            words = set(re.split(r"[^a-z]+", os.path.relpath(file, self.base).lower()))
            split = next((split for split, names in NAMES.items() if words & {*names}), "train")
            found.setdefault(split, []).append(str(file))
        return found

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """``UserError`` for whatever datasets, its readers and its connections raise, which log nothing."""
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
        """What went wrong, and the remedy."""
        from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

        cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        text = " ".join(str(cause).split())[:400].rstrip(".")
        if "scripts are no longer supported" in text:
            return (
                "needs a script of its own to be read, which is never run; the hub may hold it as tables: set "
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


def _reach() -> None:
    """``UserError`` where the hub does not answer, which datasets would find out by half a minute of trying.

    It is not asked where the user has said so.
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

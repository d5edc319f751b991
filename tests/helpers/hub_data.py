"""The data set ``hub`` as its tests build it, what its rows must hold, and other processes that read it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
from paths import HELPERS
from pyarrow import parquet

from scmrl_plugins.core.interfaces import MODALITIES, SPLITS, ModelConfig
from scmrl_plugins.plugins.datasets.hub.dataset import Hub
from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES, png, wav

TRAIN, TEST = 24, 9


def build(path: object, **settings: object) -> Hub:
    """The data set as the commands build it: with the classes looked up."""
    config = Hub.Config.model_validate({"path": path, "validation": 0.25, **settings})
    return Hub(Hub.settle(config), ModelConfig(image_size=16))


def rows(dataset: Hub, name: str) -> list[dict[str, Any]]:
    return list(dataset.splits()[name])


def ids(dataset: Hub) -> dict[str, list[str]]:
    return {name: [row["id"] for row in split] for name, split in dataset.splits().items()}


def content(dataset: Hub) -> dict[str, dict[str, tuple[str, str]]]:
    """By split and id, the class and a digest of what a row is transformed to."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for name, split in dataset.splits().items():
        found[name] = {}
        for row in split:
            arrays = dataset.transform({key: [value] for key, value in row.items()})
            digest = hashlib.sha256(b"".join(arrays[modality][0].tobytes() for modality in MODALITIES))
            found[name][row["id"]] = (dataset.classes[row["label"]], digest.hexdigest())
    return found


def write(path: Path, cells: Mapping[str, Any], schema: pyarrow.Schema | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(dict(cells), schema=schema), path)
    return path


def expected(dataset: Hub) -> dict[str, dict[str, tuple[str, str]]]:
    """What ``content`` must be, from the numbers that the files of a row were made of."""
    found: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in SPLITS}
    for name, row in [(name, row) for name, own in ids(dataset).items() for row in own]:
        split, number = row.split("/")
        file = int(number) + (TRAIN if split == "test" else 0)
        arrays = dataset.transform(
            {"audio": [{"bytes": wav(file), "path": None}], "visual": [{"bytes": png(file), "path": None}]}
        )
        digest = hashlib.sha256(b"".join(arrays[modality][0].tobytes() for modality in MODALITIES))
        found[name][row] = (CLASSES[file % 3], digest.hexdigest())
    return found


def other_process(function: str, *arguments: str, **environment: str) -> Any:
    """What a function of a helper module, ``module.function``, prints in a process of its own, as JSON."""
    module = function.partition(".")[0]
    program = f"import sys; sys.path.insert(0, {str(HELPERS)!r}); import {module}; {function}()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def plain(root: Path, split: str, first: int, count: int) -> dict[str, list[Any]]:
    """Files in folders, named from the root, and words for labels."""
    cells: dict[str, list[Any]] = {"audio": [], "image": [], "label": []}
    for file in range(first, first + count):
        (root / "a b" / split).mkdir(parents=True, exist_ok=True)
        (root / "a b" / split / f"é{file}.wav").write_bytes(wav(file))
        (root / "a b" / split / f"é{file}.png").write_bytes(png(file))
        cells["audio"].append(f"a b/{split}/é{file}.wav")
        cells["image"].append(f"a b/{split}/é{file}.png")
        cells["label"].append(CLASSES[file % 3])
    return cells


def both(root: Path, cells: Callable[[Path, str, int, int], Mapping[str, Any]], ending: str = ".parquet") -> str:
    """Both splits, as tables of what ``cells`` says."""
    root.mkdir()
    for split, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        made = pyarrow.table(dict(cells(root, split, first, count)))
        file = root / f"{split}{ending}"
        if ending == ".parquet":
            parquet.write_table(made, file)
        elif ending == ".csv":
            made.to_pandas().to_csv(file, index=False)
        elif ending == ".arrow":
            with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, made.schema) as writer:
                writer.write_table(made)
        else:
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.to_pylist()))
    return str(root / f"*{ending}")


def as_json(root: Path) -> object:
    return both(root, plain, ".jsonl")


def columns(tmp_path: Path, **cells: Any) -> str:
    data = {name: list(values) for name, values in cells.items()}
    write(tmp_path / "data" / "test.parquet", data)
    return str(write(tmp_path / "data" / "train.parquet", data).parent)

"""Hugging Face data sets in every form on disk, as tables and as streams, and on the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from fake_hub import COMMIT, serve
from hub_data import (
    TEST,
    TRAIN,
    as_json,
    both,
    build,
    content,
    expected,
    other_process,
    plain,
)
from planted_files import assert_refused, scmrl
from pyarrow import parquet

from scmrl_plugins.plugins.datasets.hub.dataset import Hub
from scmrl_plugins.plugins.datasets.miniatures.hub import CLASSES, png, table, wav, write_tables
from scmrl_plugins.registry import UserError


def as_folder(root: Path) -> object:
    write_tables(root, TRAIN, TEST)
    return str(root)


def as_glob(root: Path) -> object:
    write_tables(root, TRAIN, TEST)
    return str(root / "*" / "*.parquet")


def as_files(root: Path) -> object:
    write_tables(root / "x", TRAIN, TEST)
    first, second = sorted((root / "x" / "data").iterdir())
    return [str(second), str(first)]


def as_shards(root: Path) -> object:
    (root / "train").mkdir(parents=True)
    (root / "test").mkdir()
    for shard in range(4):
        parquet.write_table(table(6, 6 * shard), root / "train" / f"{shard}.parquet")
    parquet.write_table(table(TEST, TRAIN), root / "test" / "0.parquet")
    return str(root / "**" / "*.parquet")


def as_csv(root: Path) -> object:
    return both(root, plain, ".csv")


def as_arrow(root: Path) -> object:
    return both(root, plain, ".arrow")


def as_binary(root: Path) -> object:
    def cells(root: Path, split: str, first: int, count: int) -> dict[str, Any]:
        files = range(first, first + count)
        return {
            "sound": pyarrow.array([wav(file) for file in files], pyarrow.large_binary()),
            "picture": [png(file) for file in files],
            "class": pyarrow.array([CLASSES[file % 3] for file in files], pyarrow.large_string()),
        }

    return both(root, cells)


def as_paths_in_structs(root: Path) -> object:
    def cells(root: Path, split: str, first: int, count: int) -> dict[str, Any]:
        made = plain(root, split, first, count)
        sounds = [{"bytes": None, "path": path} for path in made["audio"]]
        return {**made, "audio": pyarrow.array(sounds, datasets.Audio().pa_type)}

    return both(root, cells)


def as_images_with_sounds(root: Path) -> object:
    for split, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        (root / split).mkdir(parents=True)
        lines = []
        for file in range(first, first + count):
            (root / split / f"{file}.png").write_bytes(png(file))
            (root / split / f"{file}.wav").write_bytes(wav(file))
            cells = {"file_name": f"{file}.png", "audio_file_name": f"{file}.wav", "label": CLASSES[file % 3]}
            lines.append(json.dumps(cells) + "\n")
        (root / split / "metadata.jsonl").write_text("".join(lines))
    return str(root)


def as_saved(root: Path) -> object:
    write_tables(root / "x", TRAIN, TEST)
    datasets.DatasetDict(
        {
            split: datasets.Dataset.from_parquet(str(next((root / "x" / "data").glob(f"{split}*"))))
            for split in ("train", "test")
        }
    ).save_to_disk(str(root / "saved"))
    return str(root / "saved")


FORMS = [
    as_folder,
    as_glob,
    as_files,
    as_shards,
    as_json,
    as_csv,
    as_arrow,
    as_binary,
    as_paths_in_structs,
    as_images_with_sounds,
    as_saved,
]


QUICK = (as_json, as_csv)


def marked(forms: list[Callable[[Path], object]]) -> list[Any]:
    """Some forms are for quick runs."""
    return [pytest.param(form, marks=[] if form in QUICK else [pytest.mark.slow]) for form in forms]


@pytest.mark.parametrize("form", marked(FORMS))
def test_every_form_says_the_same(form: Callable[[Path], object], tmp_path: Path) -> None:
    dataset = build(form(tmp_path / "data"))
    assert dataset.classes == CLASSES
    found = content(dataset)
    assert {name: len(own) for name, own in found.items()} == {"train": 18, "validation": 6, "test": TEST}
    assert found == expected(dataset)


@pytest.mark.parametrize("form", marked([as_shards, as_json, as_csv, as_arrow]))
def test_a_stream_says_the_same(form: Callable[[Path], object], tmp_path: Path) -> None:
    dataset = build(form(tmp_path / "data"), streaming=True, classes=CLASSES)
    found = content(dataset)
    assert sum(map(len, found.values())) == TRAIN + TEST
    assert found == expected(dataset)


def test_places_where_no_data_set_is(tmp_path: Path, written: Path) -> None:
    def refused(path: object, reason: str, **settings: object) -> None:
        with pytest.raises(UserError, match=reason) as caught:
            build(path, **settings)
        assert "\n" not in str(caught.value)

    with pytest.raises(UserError, match=r"set dataset\.path to an id of the hub \(user/name\), to a folder, or"):
        Hub.settle(Hub.Config())
    refused("cremad", r"cremad: no such file or folder, nor an id of the hub")
    refused(str(tmp_path / "no" / "*.parquet"), r"no such file or folder")
    refused("data/train.parquet", r"no such file or folder")
    (tmp_path / "a.wav").write_bytes(wav(1))
    refused(str(tmp_path / "a.wav"), r"a\.wav: not a table that can be read \(\.parquet, \.jsonl")
    refused(str(tmp_path), r"a folder of single files \(audiofolder\).* use --dataset av-folder")
    (tmp_path / "empty").mkdir()
    refused(str(tmp_path / "empty"), r"cannot be read \(EmptyDatasetError")
    (tmp_path / "cut.parquet").write_bytes(next((written / "data").iterdir()).read_bytes()[:-100])
    refused(str(tmp_path / "cut.parquet"), r"cut\.parquet: cannot be read \(ArrowInvalid")
    (tmp_path / "x.csv").write_text("a\n1\n")
    refused([str(tmp_path / "x.csv"), str(tmp_path / "cut.parquet")], r"tables of several kinds \(csv, parquet\)")
    refused(str(tmp_path / "x.csv"), r"files here have no revision; leave dataset\.revision out", revision="v1")
    refused(str(tmp_path / "x.csv"), r"files here have no subset", subset="en")


def test_offline_it_fails_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))
    outcome = scmrl("train", "--dataset", "hub", "--set", "dataset.path=nobody/nothing")
    assert_refused(outcome, "nobody/nothing", "without HF_HUB_OFFLINE", "dataset.path")


@pytest.mark.slow
def test_an_id_of_the_hub(written: Path, tmp_path: Path) -> None:
    """In a process of its own, as the hub's address is read once."""
    as_json(tmp_path / "names")
    shutil.copytree(written, tmp_path / "script")
    (tmp_path / "script" / "script.py").write_text("raise SystemExit('executed')")
    folders = {
        "somebody/clips": written,
        "somebody/gated": written,
        "somebody/names": tmp_path / "names",
        "somebody/script": tmp_path / "script",
    }
    with serve(folders, {"somebody/gated": "hf_secret"}) as hub:
        online = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}
        results = other_process("hub_processes.online", **online)

    def same(found: Any, dataset: Hub) -> bool:
        wanted = json.loads(json.dumps(expected(dataset)))
        return found == {"revision": COMMIT, "content": wanted}

    table, stream = build(str(written)), build(str(written), streaming=True)
    for name in ("downloaded", "token", "offline"):
        assert same(results[name], table), name
    assert same(results["streamed"], stream)
    assert same(results["named"], table)
    assert any("names/resolve" in asked and asked.endswith(".png") for asked in hub.asked)
    assert "is a gated dataset on the Hub" in results["gated"]
    assert "set HF_TOKEN" in results["gated"]
    assert "requires a loading script" in results["script"]
    assert "doesn't exist on the Hub or cannot be accessed; check dataset.path" in results["absent"]
    assert "Revision 'v2' doesn't exist" in results["revision"]
    assert f"only revision {COMMIT} is here" in results["other"]


def test_a_hub_that_does_not_answer_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9 does not answer .*set HF_HUB_OFFLINE=1"):
        build("nobody/nothing")

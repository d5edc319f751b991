"""``scmrl data``: listed, prepared, checked and shown; bad files by name, and one line for what cannot be."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cli_runs import assert_refused, contents, fork_scmrl, invoke, run_python
from PIL import Image

from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.model.assembly import build_dataset
from scmrl_plugins.registry import catalogue

SMALL = ["--set", "model.image_size=16"]
COMMANDS = ("list", "prepare", "check", "show", "cache")

EVENTS = '''
from scmrl_plugins import hookimpl
from scmrl_plugins.core.interfaces import BadFileError, ComponentConfig


class Events:
    """Two kinds of events in 16 time steps, beside a spectrogram, in a stream."""

    class Config(ComponentConfig):
        streamed: bool = False
        spoiled: bool = False

    defaults = {"model": {"steps": 16, "image_size": 8}}
    classes = ("寒い", "a$b$", "a class with a name that is much too long to be drawn whole")
    channels = {"audio": 1, "visual": 2}

    def __init__(self, config, model):
        self.config, self.size = config, model.image_size

    def splits(self):
        import datasets

        def rows(count):
            numbers = list(range(count))
            columns = {"audio": numbers, "visual": numbers, "label": [n % 3 for n in numbers]}
            table = datasets.Dataset.from_dict({**columns, "id": [f"{n}-й" for n in numbers]})
            return table.to_iterable_dataset() if self.config.streamed else table

        return {"train": rows(20), "validation": rows(3), "test": rows(3)}

    def transform(self, rows):
        import numpy as np

        count = len(rows["label"])
        if self.config.spoiled:
            raise BadFileError("all.aedat", "is noise; record it again")
        shapes = {"audio": (count, 1, self.size, self.size), "visual": (count, 16, 2, self.size, self.size)}
        return {
            name: np.full(shape, 1.0, dtype="float32") * np.reshape(rows[name], (count, *[1] * (len(shape) - 1)))
            for name, shape in shapes.items()
            if rows[name][0] is not None
        }


@hookimpl
def scmrl_register(register):
    register("dataset", "events", f"{__name__}:Events", "events in a stream")
    register("dataset", "absent", "nowhere_to_be_found:Absent", "whose module is not there")
'''


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folder") / "data"
    catalogue().get("dataset", "av-folder").load().fixture(root)
    return root


@pytest.fixture
def root(_written: Path, tmp_path: Path, cache: Path) -> Path:
    """Real files of 18 samples in three classes, for ``av-folder``, of whom 6 are for the test."""
    return Path(shutil.copytree(_written, tmp_path / "data"))


@pytest.fixture
def events(tmp_path: Path, cache: Path, site: Any) -> list[str]:
    """The option that brings a data set of events."""
    file = tmp_path / "events.py"
    file.write_text(EVENTS, encoding="utf-8")
    return ["--plugin", str(file)]


def folder(command: str, root: Path, *args: str) -> Any:
    return invoke("data", command, "av-folder", "--root", root, *SMALL, *args)


def sizes(root: Path) -> dict[str, int]:
    """Samples by split."""
    config = compose(options={"dataset": {"name": "av-folder", "root": str(root)}})
    return {split: len(rows) for split, rows in build_dataset(config)[0].splits().items()}


def files(root: Path, ending: str) -> list[Path]:
    return sorted(root.glob(f"train/*/*{ending}"))


# list -------------------------------------------------------------------------------------------------


def test_it_lists_every_data_set() -> None:
    reported = json.loads(invoke("data", "list", "--json").out)["datasets"]
    entries = [entry for entry in catalogue().entries if entry.kind == "dataset"]
    assert [row["name"] for row in reported] == [entry.name for entry in entries]
    assert [row["summary"] for row in reported] == [entry.summary for entry in entries]
    by_name = {row["name"]: row for row in reported}
    assert by_name["av-digits"]["classes"] == list("0123456789")
    assert not by_name["av-digits"]["root"]
    assert by_name["spoken-digits"]["root"]
    assert by_name["av-folder"]["classes"] is None
    lines = invoke("data", "list").out
    for data_set in reported:
        assert f"{data_set['name']} " in lines
        assert data_set["summary"] in lines


def test_a_data_set_that_cannot_be_loaded_is_listed_with_the_reason(events: list[str]) -> None:
    done = invoke("data", "list", *events)
    assert done.code == 0
    assert "nowhere_to_be_found" in done.out
    reported = {one["name"]: one for one in json.loads(invoke("data", "list", "--json", *events).out)["datasets"]}
    assert "nowhere_to_be_found" in reported["events:absent"]["error"]
    assert reported["events:events"]["error"] is None
    assert len(reported["events:events"]["classes"]) == 3


# prepare ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_prepare_stores_and_says_what_was_there_before(root: Path, cache: Path) -> None:
    first = json.loads(folder("prepare", root, "--json").out)
    assert first["bad"] == []
    assert {split: row["samples"] for split, row in first["splits"].items()} == sizes(root)
    for counts in first["splits"].values():
        assert (counts["before"], counts["computed"], counts["skipped"]) == (0, counts["samples"], 0)
        assert counts["bytes"] > 0
        assert Path(counts["folder"]).is_relative_to(cache)
    again = json.loads(folder("prepare", root, "--json", "--workers", "2").out)
    for split, counts in again["splits"].items():
        assert counts == {**first["splits"][split], "before": counts["samples"], "computed": 0}
    os.utime(root / "test" / "bell" / "bell 0.wav", (0, 0))
    repaired = json.loads(folder("prepare", root, "--json").out)["splits"]
    assert [row["computed"] for row in repaired.values()] == [0, 0, 6]
    shown = folder("prepare", root).out.split()
    assert {"train", str(sizes(root)["train"]), "validation", "test", "6"} <= set(shown)
    assert first["splits"]["train"]["folder"] in shown


@pytest.mark.slow
def test_prepare_goes_by_the_policy(root: Path, tmp_path: Path) -> None:
    bad = files(root, ".wav")[0]
    bad.write_bytes(b"")
    assert_refused(folder("prepare", root), str(bad), "is empty", "data.on_bad=skip")
    done = folder("prepare", root, "--set", "data.on_bad=skip", "--json")
    reported = json.loads(done.out)
    assert reported["bad"] == [{"path": str(bad), "reason": "is empty (0 bytes); copy it again or leave it out"}]
    assert sum(row["skipped"] for row in reported["splits"].values()) == 1
    assert sum(row["samples"] for row in reported["splits"].values()) == 17
    table = tmp_path / "left" / "out.csv"
    shown = folder("prepare", root, "--set", "data.on_bad=skip", "--left-out", table).out
    assert "1 bad files were left out" in shown
    assert table.read_text(encoding="utf-8").splitlines() == [
        "path,reason",
        f"{bad},is empty (0 bytes); copy it again or leave it out",
    ]


def test_an_estimate_stores_nothing(root: Path, cache: Path) -> None:
    needed = json.loads(folder("prepare", root, "--estimate", "--json").out)
    assert (needed["samples"], needed["free"] > needed["bytes"] > 0, needed["seconds"] > 0) == (18, True, True)
    assert folder("prepare", root, "--estimate").out.startswith("18 samples to compute: about ")
    assert not list(cache.rglob("*.arrow"))
    prepared = json.loads(folder("prepare", root, "--json").out)
    stored = sum(split["bytes"] for split in prepared["splits"].values())
    assert needed["bytes"] / 2 < stored < needed["bytes"] * 2
    assert json.loads(folder("prepare", root, "--estimate", "--json").out)["samples"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("without_report")
def test_training_uses_what_was_prepared(root: Path, cache: Path, tmp_path: Path) -> None:
    sizes = {"steps": 2, "embed_dims": 16, "num_heads": 2}
    sets = [text for key, value in sizes.items() for text in ("--set", f"model.{key}={value}")]
    assert folder("prepare", root, *sets).code == 0
    before = contents(cache)
    chosen = ["--dataset", "av-folder", "--set", f"dataset.root={root}", *SMALL, *sets, "--set", "train.epochs=1"]
    done = invoke("train", *chosen, "--device", "cpu", "-o", tmp_path / "run")
    assert done.code == 0, done.err
    assert contents(cache) == before


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_full_disk_is_one_line(root: Path, cache: Path, workers: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # no file may be larger, as if the disk were full
    try:
        done = folder("prepare", root, "--workers", workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_refused(done, f"{cache / 'features'}", "features cannot be stored here", "free space")
    assert all(name.endswith(".lock") for name in contents(cache))  # nothing half is left


def test_a_cache_that_is_a_file_is_one_line(root: Path, cache: Path) -> None:
    cache.write_text("in the way")
    assert_refused(folder("prepare", root), "features cannot be stored here", "SCMRL_CACHE")


# check ------------------------------------------------------------------------------------------------


def test_check_of_good_files(root: Path, cache: Path) -> None:
    reported = json.loads(folder("check", root, "--json").out)
    assert reported == {
        "n": 18,
        "bad": [],
        "handled": [],
        "warnings": [],
        "splits": {split: {"samples": count, "good": count} for split, count in sizes(root).items()},
    }
    done = folder("check", root)
    assert done.code == 0
    assert "bad files" not in done.out
    assert not list(cache.rglob("*.arrow"))


def half_a_wav(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_number(path: Path) -> None:
    soundfile.write(path, np.full(800, np.nan), 8000, format="WAV", subtype="FLOAT")


def silence(path: Path) -> None:
    soundfile.write(path, np.zeros(800), 8000, format="WAV")


def pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


SPOILS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "cut off": (".wav", half_a_wav, "cut off"),
    "no number": (".wav", no_number, "NaN"),
    "silence": (".wav", silence, "silence"),
    "empty": (".wav", lambda path: path.write_bytes(b""), "is empty"),
    "pointer": (".jpg", pointer, "git-lfs pointer"),
    "noise": (".png", lambda path: path.write_bytes(os.urandom(400)), "not an image"),
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_check_names_every_bad_file_and_its_reason(root: Path, workers: str) -> None:
    for name, (ending, _, _) in SPOILS.items():  # each in a sample of its own
        shutil.copy(files(root, ".wav")[0], root / "train" / "bell" / f"{name}.wav")
        shutil.copy(files(root, ".jpg")[0], root / "train" / "bell" / f"{name}.jpg")
        if ending == ".png":
            (root / "train" / "bell" / f"{name}.jpg").rename(root / "train" / "bell" / f"{name}.png")
    for name, (ending, spoil, _) in SPOILS.items():
        spoil(root / "train" / "bell" / f"{name}{ending}")
    alone = root / "train" / "bell" / "alone.wav"
    shutil.copy(files(root, ".wav")[0], alone)
    done = folder("check", root, "--json", "--workers", workers, "--set", "data.on_bad=error")
    reported = json.loads(done.out)
    assert done.code == 1
    assert reported["n"] == 18 + len(SPOILS)
    assert sum(row["good"] for row in reported["splits"].values()) == 18
    found = {row["path"]: row["reason"] for row in reported["bad"]}
    assert len(found) == len(reported["bad"]) == len(SPOILS) + 1
    assert "alone" in found[str(alone)]
    for name, (ending, _, words) in SPOILS.items():
        reason = found[str(root / "train" / "bell" / f"{name}{ending}")]
        assert words in reason
        assert ";" in reason  # the remedy
    done = folder("check", root)
    assert done.code == 1
    lines = done.out.splitlines()
    for path, reason in found.items():
        assert any(line.split("   ")[0].strip() == path and reason in line for line in lines), path


def test_both_files_of_a_sample_are_reported(root: Path) -> None:
    wav, picture = files(root, ".wav")[0], files(root, ".jpg")[0]
    assert wav.stem == picture.stem
    wav.write_bytes(b"")
    pointer(picture)
    reported = json.loads(folder("check", root, "--json").out)
    assert [row["path"] for row in reported["bad"]] == [str(wav), str(picture)]
    assert sum(row["samples"] - row["good"] for row in reported["splits"].values()) == 1


def test_repairs_are_grouped_by_their_kind(root: Path) -> None:
    stereo, slow = files(root, ".wav")[:2]
    samples, rate = soundfile.read(stereo)
    soundfile.write(stereo, np.stack([samples, samples], axis=1), rate)
    soundfile.write(slow, samples, 8000)
    done = folder("check", root, "--json")
    assert done.code == 0  # nothing is bad
    handled = {row["path"]: row["what"] for row in json.loads(done.out)["handled"]}
    assert "2 channels" in handled[str(stereo)]
    assert "8000 Hz" in handled[str(slow)]
    rows = [line for line in folder("check", root).out.splitlines() if "8000 Hz" in line]
    assert len(rows) == 1
    assert rows[0].split()[0] == str(list(handled.values()).count(handled[str(slow)]))


def test_check_reads_what_lies_there_now(root: Path) -> None:
    assert folder("prepare", root).code == 0
    wav = files(root, ".wav")[0]
    state, content = wav.stat(), wav.read_bytes()
    wav.write_bytes(b"\0" * len(content))
    os.utime(wav, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a failing disk leaves it
    assert folder("prepare", root).code == 0
    assert [row["path"] for row in json.loads(folder("check", root, "--json").out)["bad"]] == [str(wav)]


def test_a_split_without_a_good_sample_is_reported(root: Path) -> None:
    for path in root.glob("test/*/*.wav"):
        silence(path)
    done = folder("check", root)
    assert done.code == 1
    assert "the test split has no usable sample" in done.out
    assert "6 bad files" in done.out


def test_check_of_a_stream(events: list[str]) -> None:
    given = ["data", "check", "events:events", *events, "--set", "dataset.streamed=true"]
    done = invoke(*given, "--json")
    assert (done.code, json.loads(done.out)["n"]) == (0, 26)
    done = invoke(*given, "--json", "--set", "dataset.spoiled=true")
    assert done.code == 1
    assert json.loads(done.out)["bad"] == [{"path": "all.aedat", "reason": "is noise; record it again"}]


# show -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_show_draws_the_same_picture_for_the_same_seed(root: Path, tmp_path: Path) -> None:
    def drawn(name: str, *args: str) -> np.ndarray:
        done = folder("show", root, "-o", str(tmp_path / "new" / name), "--count", "3", *args)
        assert done.code == 0
        assert done.out == f"picture: {tmp_path / 'new' / name}\n"
        with Image.open(tmp_path / "new" / name) as picture:
            return np.asarray(picture.convert("RGB"))

    first = drawn("a.png")
    assert min(first.shape[:2]) > 400
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 1000
    assert np.array_equal(first, drawn("b.png"))
    assert not np.array_equal(first, drawn("c.png", "--set", "train.seed=7"))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.png", "b.png", "c.png"]


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("streamed", ["true", "false"])
def test_show_draws_events_and_names_that_are_hard_to_draw(
    events: list[str], tmp_path: Path, streamed: str
) -> None:
    out = tmp_path / "events.png"
    done = invoke("data", "show", "events:events", *events, "-o", out, "--set", f"dataset.streamed={streamed}")
    assert done.code == 0
    with Image.open(out) as picture:
        assert picture.size[0] > 800


@pytest.mark.slow
def test_show_leaves_bad_files_out_and_says_so(root: Path, tmp_path: Path) -> None:
    bells = sorted(root.glob("train/bell/*.wav"))
    for path in bells:
        path.write_bytes(b"")
    done = folder("show", root, "-o", str(tmp_path / "a.png"), "--count", "12")
    assert done.code == 0
    assert 1 <= len(done.err.splitlines()) <= len(bells)  # some bells may be kept for validation
    assert all(line.startswith("left out: ") and "is empty" in line for line in done.err.splitlines())


def test_show_with_nothing_to_show_is_one_line(events: list[str], tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    done = invoke("data", "show", "events:events", *events, "-o", out, "--set", "dataset.spoiled=true")
    assert_refused(done, "no train sample to show", "all.aedat: is noise")
    assert not out.exists()


# what cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS[1:4])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["av-foldre"], ["unknown dataset 'av-foldre'", "did you mean 'av-folder'"]),
        (["av-digits", "--root", "x"], ["--root x", "'av-digits' does not read a directory"]),
        (["av-folder"], ["dataset.root"]),
        (["av-folder", "--root", "absent"], ["absent: not a folder"]),
        (["spoken-digits", "--root", "."], ["recordings", "dataset.root"]),
        (["av-folder", "--set", "dataset.rot=x"], ["dataset.rot", "did you mean 'root'"]),
        (["av-folder", "-c", "absent.toml"], ["absent.toml: no such configuration file"]),
        (["av-folder", "--plugin", "absent.py"], ["absent.py"]),
        ([], ["NAME"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_cannot_be_is_one_line(command: str, given: list[str], words: list[str], cache: Path) -> None:
    out = ["-o", "x.png"] if command == "show" else []
    assert_refused(invoke("data", command, *given, *out), *words)
    assert not Path("x.png").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["show", "av-digits"], ["-o"]),
        (["show", "av-digits", "-o", "x.txt"], ["x.txt", ".png"]),
        (["show", "av-digits", "-o", "x.png", "--split", "training"], ["--split", "validation"]),
        (["show", "av-digits", "-o", "x.png", "--count", "0"], ["--count"]),
        (["prepare", "av-digits", "--workers", "-1"], ["--workers"]),
        (["chekc", "av-digits"], ["chekc", "check"]),
        (["list", "av-digits"], ["av-digits"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_options_are_one_line(given: list[str], words: list[str]) -> None:
    assert_refused(invoke("data", *given), *words)


@pytest.mark.slow
def test_a_picture_that_cannot_be_written_is_one_line(root: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert_refused(folder("show", root, "-o", str(tmp_path / "taken" / "a.png")), "taken")


@pytest.mark.slow
def test_json_is_all_of_standard_output_in_another_process(root: Path) -> None:
    pointer(files(root, ".jpg")[0])
    done = fork_scmrl("data", "check", "av-folder", "--root", root, *SMALL, "--json")
    assert done.code == 1
    assert len(json.loads(done.out)["bad"]) == 1


def test_help_needs_no_heavy_library() -> None:
    program = (
        "import sys\nfrom scmrl_plugins.cli import main\n"
        f"for name in {COMMANDS}:\n"
        "    try:\n        main(['data', name, '--help'])\n    except SystemExit:\n        pass\n"
        "sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)\n"
    )
    done = run_python("-c", program)
    assert done.code == 0, done.err
    assert all(f"scmrl data {name} [OPTIONS]" in done.out.replace("-c", "scmrl") for name in COMMANDS), done.out

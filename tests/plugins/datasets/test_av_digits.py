from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import sys
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
from cli_runs import fork_python
from digit_files import av
from PIL import Image
from pydantic import ValidationError

from scmrl_plugins.core.interfaces import Dataset, ModelConfig, RepairedFileWarning
from scmrl_plugins.plugins.datasets.av_digits import AVDigits
from scmrl_plugins.plugins.datasets.media import images
from scmrl_plugins.plugins.datasets.media.mel import MEL_FLOOR
from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.plugins.datasets.speech.voices import VARIANTS, VOICES
from scmrl_plugins.registry import UserError

pytest.importorskip("espeakng_loader")
ID = re.compile(r"digit-(\d{4})/([\w-]+\+\w+)-r(\d+)-p(\d+)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> datasets.DatasetDict:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCMRL_CACHE", str(folder))
        return av().splits()


def test_it_is_a_data_set_of_ten_digits() -> None:
    digits = av()
    assert isinstance(digits, Dataset)
    assert digits.classes == tuple("0123456789")
    assert digits.channels == {"audio": 1, "visual": 1}
    assert AVDigits.defaults["model"] == {"steps": 4, "embed_dims": 32, "num_heads": 4, "image_size": 16}


@pytest.mark.slow
def test_rows(built: datasets.DatasetDict) -> None:
    assert list(built) == ["train", "validation", "test"]
    assert {name: len(split) for name, split in built.items()} == {"train": 69, "validation": 11, "test": 40}
    for split in built.values():
        assert split.features["label"].names == list("0123456789")
        for row in split:
            assert ID.fullmatch(row["id"])
            info = soundfile.info(io.BytesIO(row["audio"]["bytes"]))
            assert (info.samplerate, info.channels, info.subtype, info.format) == (8000, 1, "PCM_16", "WAV")
            assert 0.15 < info.duration < 1.5
            with Image.open(io.BytesIO(row["visual"]["bytes"])) as image:
                assert (image.size, image.mode, image.format) == ((8, 8), "L", "PNG")


def test_the_complete_plan() -> None:
    _, plan = AVDigits(AVDigits.Config(), ModelConfig(image_size=28))._plan()
    sizes = {name: len(pairs) for name, pairs in plan.items()}
    assert sizes["test"] >= 1000
    labels = {pair.image: pair.question.shown for pairs in plan.values() for pair in pairs}
    members = {name: {pair.image for pair in pairs} for name, pairs in plan.items()}
    assert sum(map(len, members.values())) == 1797
    assert len(set.union(*members.values())) == 1797
    assert sizes == {
        "train": 2 * len(members["train"]),
        "validation": 2 * len(members["validation"]),
        "test": 3 * len(members["test"]),
    }
    for name, pairs in plan.items():
        assert len({(pair.image, pair.utterance.style) for pair in pairs}) == len(pairs)
        assert {pair.utterance.voice for pair in pairs} <= set(VOICES[name])
        assert {pair.utterance.voice.split("+")[1] for pair in pairs} == set(VARIANTS[name])  # none is idle
        counts = Counter(labels[index] for index in members[name])
        assert max(counts.values()) - min(counts.values()) <= 0.1 * max(counts.values())


def test_many_pairs_of_few_voices_are_all_different() -> None:
    pairs = [(pair.image, pair.utterance.style) for pair in av(pairs=50)._plan()[1]["validation"]]
    assert len(pairs) == len(set(pairs)) == 11 * 50


def test_images_and_voices_are_disjoint(built: datasets.DatasetDict) -> None:
    seen: dict[str, dict[str, set[str]]] = {"image": {}, "pixels": {}, "accent": {}, "variant": {}}
    for name, split in built.items():
        parts = [ID.fullmatch(identifier).groups() for identifier in split["id"]]  # type: ignore[union-attr]
        seen["image"][name] = {image for image, *_ in parts}
        seen["pixels"][name] = {cell["bytes"] for cell in split["visual"]}
        seen["accent"][name] = {voice.split("+")[0] for _, voice, *_ in parts}
        seen["variant"][name] = {voice.split("+")[1] for _, voice, *_ in parts}
    for what, splits in seen.items():
        assert sum(map(len, splits.values())) == len(set.union(*splits.values())), what


def test_image_and_word_are_of_the_label(built: datasets.DatasetDict) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for split in built.values():
        for row in split:
            index = int(ID.fullmatch(row["id"])[1])  # type: ignore[index]
            assert digits.target[index] == row["label"]
            np.testing.assert_allclose(
                images.decode(row["visual"]["bytes"], "x"), digits.images[index] / 16, atol=0.003
            )


@pytest.mark.slow
def test_the_words_can_be_distinguished(built: datasets.DatasetDict) -> None:
    """A nearest neighbour of another voice says the same digit far more often than by chance."""
    digits = av()
    rows = {name: (digits.transform(split[:])["audio"], np.array(split["label"])) for name, split in built.items()}
    known, labels = rows["train"]
    queries, truth = rows["test"]
    distance = ((queries[:, None] - known[None]) ** 2).sum(axis=(2, 3, 4))
    assert (labels[distance.argmin(axis=1)] == truth).mean() > 0.5


def test_transform(built: datasets.DatasetDict) -> None:
    rows = built["train"][:5]
    for size in (28, 32):
        arrays = av(size).transform(rows)
        for modality in ("audio", "visual"):
            assert arrays[modality].shape == (5, 1, size, size)
            assert arrays[modality].dtype == np.float32
            assert np.isfinite(arrays[modality]).all()
        assert arrays["visual"].min() >= 0
        assert 0.5 < arrays["visual"].max() <= 1
        assert arrays["audio"].min() >= np.log(MEL_FLOOR) - 1e-3
    single = av().transform(built["train"][2:3])
    np.testing.assert_allclose(single["audio"][0], av().transform(rows)["audio"][2], rtol=1e-6)


def test_pictures_are_moved_in_training() -> None:
    dataset = AVDigits(AVDigits.Config(shift=0.08), ModelConfig(image_size=16))
    picture = np.zeros((1, 16, 16), np.float32)
    picture[0, 8, 8] = 1
    assert np.array_equal(dataset.inputs({"visual": picture}, False)["visual"], picture)
    moved = [dataset.inputs({"visual": picture}, True)["visual"] for _ in range(100)]
    assert {tuple(np.argwhere(one)[0, 1:] - 8) for one in moved} == {
        (r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)
    }


def test_pictures_are_turned_in_training_only() -> None:
    dataset = AVDigits(AVDigits.Config(rotate=20, zoom=0.1), ModelConfig(image_size=16))
    picture = np.zeros((1, 16, 16), np.float32)
    picture[0, 3:12, 5:8] = 1
    assert np.array_equal(dataset.inputs({"visual": picture}, False)["visual"], picture)
    first, second = (dataset.inputs({"visual": picture}, True)["visual"] for _ in range(2))
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("absent", ["audio", "visual"])
def test_transform_leaves_out_what_is_absent(built: datasets.DatasetDict, absent: str) -> None:
    rows = dict(built["train"][:3])
    other = {"audio": "visual", "visual": "audio"}[absent]
    for value in ([None] * 3, None, []):
        assert set(av().transform({**rows, absent: value})) == {other}
    del rows[absent]
    assert set(av().transform(rows)) == {other}


def test_transform_refuses_a_gap_and_resamples(built: datasets.DatasetDict) -> None:
    rows = built["train"][:3]
    with pytest.raises(UserError, match="row 1 of the batch has no audio"):
        av().transform({**rows, "audio": [rows["audio"][0], None, rows["audio"][2]]})
    with pytest.warns(RepairedFileWarning, match="8000 Hz, resampled to 16000 Hz"):
        assert av(sample_rate=16000).transform(rows)["audio"].shape == (3, 1, 28, 28)
    with pytest.raises(UserError, match="neither bytes nor a path"):
        av().transform({"audio": [{"bytes": None, "path": None}]})


def test_it_pickles(built: datasets.DatasetDict) -> None:
    digits = av()
    again = pickle.loads(pickle.dumps(digits))
    rows = built["test"][:2]
    np.testing.assert_array_equal(again.transform(rows)["audio"], digits.transform(rows)["audio"])


def test_a_second_use_reads_the_cache_even_without_espeak(
    built: datasets.DatasetDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(built["train"].cache_files[0]["filename"]).parents[2]
    monkeypatch.setenv("SCMRL_CACHE", str(folder))
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert av(n_fft=128, hop=64).splits()["test"]["id"][:] == built["test"]["id"][:]  # the same recordings
    with pytest.raises(UserError, match=r"scmrl-plugins\[demo\]"):
        av(seed=1).splits()
    assert len(list(folder.iterdir())) == 1


@pytest.mark.slow
def test_a_damaged_cache_is_built_again(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = [row["id"] for row in av().splits()["test"]]
    (arrow,) = cache.glob("av-digits-*/test/*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:1000])
    capsys.readouterr()
    again = av().splits()["test"]
    assert [row["id"] for row in again] == first
    assert "damaged" in capsys.readouterr().err


SCRIPT = """
import hashlib, json, sys
from scmrl_plugins.core.interfaces import ModelConfig
from scmrl_plugins.plugins.datasets.av_digits import AVDigits
digits = AVDigits(AVDigits.Config(images=100, pairs=1, test_pairs=2), ModelConfig(image_size=28))
splits = digits.splits()
print(json.dumps({
    name: [split._fingerprint] + [
        hashlib.sha256(row["audio"]["bytes"] + row["visual"]["bytes"] + row["id"].encode()).hexdigest()
        for row in split
    ]
    for name, split in splits.items()
}))
"""


@pytest.mark.slow
def test_two_processes_build_the_same_bits(built: datasets.DatasetDict, tmp_path: Path) -> None:
    # A fork of another process than this one, whose strings have other hashes.
    done = fork_python(SCRIPT, cwd=tmp_path, SCMRL_CACHE=str(tmp_path))
    assert done.code == 0, done.err
    assert json.loads(done.out) == {  # and nothing else on standard output
        name: [split._fingerprint]
        + [
            hashlib.sha256(row["audio"]["bytes"] + row["visual"]["bytes"] + row["id"].encode()).hexdigest()
            for row in split
        ]
        for name, split in built.items()
    }


def test_the_seed_decides(built: datasets.DatasetDict) -> None:
    plans = [av(seed=seed)._plan()[1] for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize(
    "settings", [{"pairs": 0}, {"images": 5000}, {"hop": 300}, {"sample_rate": 8000.0}, {"pears": 2}]
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        av(**settings)


def test_read_takes_files_that_fit(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), 8000, subtype="PCM_16")
    Image.fromarray(np.full((8, 8), 51, dtype=np.uint8)).save(tmp_path / "i.png")
    row = av().read(tmp_path / "a.wav", tmp_path / "i.png")
    arrays = av().transform({key: [cell] for key, cell in row.items()})
    assert arrays["audio"].shape == (1, 1, 28, 28)
    np.testing.assert_allclose(arrays["visual"], 0.2, atol=1e-6)
    alone = av().read(tmp_path / "a.wav", None)
    assert alone["visual"] is None
    assert set(av().transform({key: [cell] for key, cell in alone.items()})) == {"audio"}
    assert set(av().transform({key: [cell] for key, cell in av().read(None, tmp_path / "i.png").items()})) == {
        "visual"
    }


def test_read_refuses_or_converts_what_does_not_fit(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate=44100), 44100)
    Image.fromarray(np.full((20, 30), 102, dtype=np.uint8)).save(tmp_path / "i.png")
    with pytest.raises(UserError) as caught:
        av().read(tmp_path / "a.wav", None)
    assert str(caught.value) == (
        f"{tmp_path}/a.wav: sample rate 44100 Hz, this model expects 8000 Hz; convert it or pass --convert"
    )
    with pytest.raises(UserError) as caught:
        av().read(None, tmp_path / "i.png")
    assert str(caught.value) == (
        f"{tmp_path / 'i.png'}: image of 30x20 pixels, this model expects 8x8; resize it or pass --convert"
    )
    row = av().read(tmp_path / "a.wav", tmp_path / "i.png", convert=True)
    info = soundfile.info(io.BytesIO(row["audio"]["bytes"]))
    assert (info.samplerate, info.frames) == (8000, 800)
    np.testing.assert_allclose(images.decode(row["visual"]["bytes"], "x"), np.full((8, 8), 0.4), atol=1e-6)


def test_read_names_bad_files(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("neither sound nor image")
    for audio, visual in ((tmp_path / "bad", None), (None, tmp_path / "bad"), (tmp_path / "absent", None)):
        with pytest.raises(UserError) as caught:
            av().read(audio, visual, convert=True)
        assert str(caught.value).startswith(f"{audio or visual}: ")

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scmrl_plugins.plugins.datasets.speech.utterances import Utterance, speak
from scmrl_plugins.plugins.datasets.speech.voices import ACCENTS, PITCHES, RATES, VARIANTS, VOICES, WORDS
from scmrl_plugins.registry import UserError

espeakng_loader = pytest.importorskip("espeakng_loader")

SOME = [
    Utterance("zero", "en-us+f3", 160, 50),
    Utterance("seven", "en+m1", 120, 30),
    Utterance("six", "en-gb-scotland+Annie", 220, 70),
]


def samples(utterances: list[Utterance]) -> list[np.ndarray]:
    return [spoken for spoken, _ in speak(utterances)]


def test_words_are_heard() -> None:
    for spoken, rate in speak(SOME):
        assert rate == 22050
        assert spoken.dtype == np.float32
        assert 0.15 < len(spoken) / rate < 1.5
        assert 0.05 < np.abs(spoken).max() <= 1
        assert np.abs(spoken).mean() > 0.005


def test_the_same_list_is_the_same_to_the_bit() -> None:
    flutter = [Utterance(word, voice, 150, 45) for word in WORDS[:3] for voice in ("en+f1", "en+f4", "en-029+m1")]
    for first, again in zip(samples(flutter), samples(flutter), strict=True):
        np.testing.assert_array_equal(first, again)


@pytest.mark.slow
def test_rate_pitch_voice_and_word_are_heard() -> None:
    plain = Utterance("nine", "en-us+m3", 160, 50)
    faster, higher, other, word = samples(
        [
            Utterance("nine", "en-us+m3", 220, 50),
            Utterance("nine", "en-us+m3", 160, 90),
            Utterance("nine", "en-us+f4", 160, 50),
            Utterance("four", "en-us+m3", 160, 50),
        ]
    )
    (base,) = samples([plain])
    assert len(faster) < 0.9 * len(base)
    for changed in (higher, other, word):
        assert len(changed) != len(base) or not np.allclose(changed, base, atol=0.01)


def test_every_voice_is_known_and_says_something() -> None:
    utterances = [
        Utterance("two", voice, 220, 50) for split in VOICES for voice in VOICES[split][:: len(ACCENTS[split])]
    ]
    utterances += [
        Utterance("two", f"{accent}+{VARIANTS[split][0]}", 220, 50)
        for split in ACCENTS
        for accent in ACCENTS[split]
    ]
    utterances += [Utterance("two", f"en+{variant}", 220, 50) for split in VARIANTS for variant in VARIANTS[split]]
    for utterance, spoken in zip(utterances, samples(utterances), strict=True):
        assert np.abs(spoken).max() > 0.02, utterance.style


@pytest.mark.parametrize("kind", [ACCENTS, VARIANTS, VOICES])
def test_no_voice_is_in_two_splits(kind: dict[str, tuple[str, ...]]) -> None:
    named = [name for split in kind.values() for name in split]
    assert len(named) == len(set(named))
    assert set(kind) == {"train", "validation", "test"}


def test_rates_and_pitches_are_espeaks() -> None:
    assert all(80 <= rate <= 450 for rate in RATES)
    assert all(0 <= pitch <= 99 for pitch in PITCHES)


@pytest.mark.parametrize(
    ("voice", "reason"),
    [("en-us+nobody", "has no variant 'nobody'"), ("klingonese+f1", "has no voice 'klingonese'")],
)
def test_unknown_voices_are_named(voice: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        samples([SOME[0], Utterance("one", voice, 160, 50)])


def test_stopping_early_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    spoken = speak(SOME * 500)
    next(spoken)
    assert started[0].poll() is None
    spoken.close()
    assert started[0].returncode is not None


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError) as caught:
        samples(SOME)
    assert str(caught.value) == ("data set 'av-digits' needs eSpeak NG: pip install 'scmrl-plugins[demo]'")


def package(folder: Path, data: str, library: str) -> None:
    """A package that stands in for espeakng_loader, with these paths."""
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        f"def get_data_path():\n    return {data!r}\ndef get_library_path():\n    return {library!r}\n"
    )


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "espeakng_loader")
    return tmp_path / "espeakng_loader"


def test_data_that_is_not_there_is_named(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "nodata").mkdir()
    package(stand_in, str(tmp_path / "nodata"), espeakng_loader.get_library_path())
    with pytest.raises(UserError, match=r"nodata: eSpeak NG cannot use its data folder; reinstall it"):
        samples(SOME)


def test_a_library_that_does_not_load_is_named(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"not a library")
    package(stand_in, espeakng_loader.get_data_path(), str(tmp_path / "broken.so"))
    with pytest.raises(UserError, match=r"cannot be loaded .*broken\.so.*reinstall it"):
        samples(SOME)


@pytest.mark.slow
def test_a_deep_installation_speaks_the_same(stand_in: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 100] * 4)
    deep.mkdir(parents=True)
    (deep / "data").symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    (deep / "lib.so").symlink_to(espeakng_loader.get_library_path())
    expected = samples(SOME)
    package(stand_in, str(deep / "data"), str(deep / "lib.so"))
    for spoken, wanted in zip(samples(SOME), expected, strict=True):
        np.testing.assert_array_equal(spoken, wanted)


def test_a_crash_is_a_line(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.mkdir()
    (stand_in / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(UserError, match=r"ended with status -11 .*reinstall it"):
        samples(SOME)


@pytest.mark.slow
def test_the_process_finds_the_package_from_any_folder(tmp_path: Path) -> None:
    # A file of the user's with the name of a library must not be taken for it either.
    (tmp_path / "numpy.py").write_text("raise SystemExit('wrong numpy')")
    script = (
        "import os, sys\n"
        "from scmrl_plugins.plugins.datasets.speech.utterances import Utterance, speak\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "print(len(list(speak([Utterance('one', 'en', 160, 50)]))))\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "1", done.stderr


def test_the_speaker_gives_back_the_working_directory() -> None:
    script = (
        "import os\n"
        "from scmrl_plugins.plugins.datasets.speech.espeak import Speaker\n"
        "before = os.getcwd()\n"
        "with Speaker() as speaker:\n"
        "    assert speaker.version.startswith('1.')\n"
        "    assert len(speaker.say('one', 'en', 160, 50)) > 1000\n"
        "assert os.getcwd() == before\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_registering_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "import scmrl_plugins.plugins.datasets as data\n"
        "found = []\n"
        "data.scmrl_register(lambda kind, name, target, summary: found.append((kind, name, target)))\n"
        "print(found)\n"
        "assert not {'torch', 'datasets', 'sklearn', 'numpy', 'soundfile'} & set(sys.modules)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "('dataset', 'av-digits', 'scmrl_plugins.plugins.datasets.av_digits:AVDigits')" in done.stdout
    assert (
        "('dataset', 'spoken-digits', 'scmrl_plugins.plugins.datasets.spoken_digits:SpokenDigits')" in done.stdout
    )

"""Files that cannot be used, one kind each, and ways to find them: by preparing, and by the command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner

from scmrl_plugins.cli import main
from scmrl_plugins.core.config.layers import compose
from scmrl_plugins.core.data.prepare import Prepared, prepare
from scmrl_plugins.core.model.assembly import assemble
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture, write_sound

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
SMALL = {
    "model.steps": 2,
    "model.embed_dims": 16,
    "model.num_heads": 2,
    "model.image_size": 16,
    "train.epochs": 1,
    "train.batch_size": 16,
    "neuron.threshold": 0.3,
}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def scmrl(*args: object) -> Outcome:
    """The command line in this process; anything but an exit fails the test."""
    result = CliRunner().invoke(main, list(map(str, args)), prog_name="scmrl")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def sets(settings: Mapping[str, object]) -> list[str]:
    return [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]


def prepared(name: str, **settings: object) -> Prepared:
    """All splits of a data set, bad files left out."""
    options = {f"dataset.{key}": value for key, value in settings.items()}
    parts = assemble(compose(options={"dataset": {"name": name}}, sets=sets({**SMALL, **options})[1::2]))
    return prepare(parts.dataset, parts.config, on_bad="skip")


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and one line of complaint, with these words in it."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("Error: ")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


Spoil = Callable[[Path, Path], dict[Path, str]]
"""Spoils a good sound or its picture; returns what is then bad, and a part of the reason."""


def no_picture(sound: Path, picture: Path) -> dict[Path, str]:
    picture.unlink()
    return {sound: "no picture or video"}


def no_sound(sound: Path, picture: Path) -> dict[Path, str]:
    sound.unlink()
    return {picture: "no sound file"}


def two_of_a_stem(sound: Path, picture: Path) -> dict[Path, str]:
    write_picture(picture.with_suffix(".png"), 1)
    return {picture.with_suffix(".png"): f"{picture.name} has the same stem"}


def corrupt_picture(sound: Path, picture: Path) -> dict[Path, str]:
    picture.write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(200)))
    return {picture: "not an image that can be read"}


def cut_picture(sound: Path, picture: Path) -> dict[Path, str]:
    picture.write_bytes(picture.read_bytes()[:-100])
    return {picture: "truncated"}


def picture_pointer(sound: Path, picture: Path) -> dict[Path, str]:
    picture.write_text(POINTER)
    return {picture: "git-lfs pointer"}


def sound_pointer(sound: Path, picture: Path) -> dict[Path, str]:
    sound.write_text(POINTER)
    return {sound: "git-lfs pointer"}


def empty_sound(sound: Path, picture: Path) -> dict[Path, str]:
    sound.write_bytes(b"")
    return {sound: "is empty (0 bytes)"}


def empty_picture(sound: Path, picture: Path) -> dict[Path, str]:
    picture.write_bytes(b"")
    return {picture: "is empty (0 bytes)"}


def cut_sound(sound: Path, picture: Path) -> dict[Path, str]:
    sound.write_bytes(sound.read_bytes()[:-50])
    return {sound: "is cut off"}


def no_samples(sound: Path, picture: Path) -> dict[Path, str]:
    soundfile.write(sound, np.zeros(0), 22_050)
    return {sound: "holds no samples"}


def silence(sound: Path, picture: Path) -> dict[Path, str]:
    soundfile.write(sound, np.zeros(1000), 22_050)
    return {sound: "nothing but silence"}


def not_a_number(sound: Path, picture: Path) -> dict[Path, str]:
    soundfile.write(sound, np.full(1000, np.nan), 22_050, subtype="FLOAT")
    return {sound: "NaN or infinity"}


def not_utf8(sound: Path, picture: Path) -> dict[Path, str]:
    bad = {}
    for path in (sound, picture):
        path.rename(path.with_name(f"{path.stem}\udce9{path.suffix}"))  # the byte E9, which is Latin-1
        bad[path.with_name(f"{path.stem}\ufffd{path.suffix}")] = "its name is not UTF-8"
    return bad


def a_folder(sound: Path, picture: Path) -> dict[Path, str]:
    picture.unlink()
    picture.mkdir()
    return {picture: "is a folder, a pipe or a device", sound: "no picture or video"}


def a_pipe(sound: Path, picture: Path) -> dict[Path, str]:
    sound.unlink()
    os.mkfifo(sound)
    return {sound: "is a folder, a pipe", picture: "no sound file"}


def a_loop(sound: Path, picture: Path) -> dict[Path, str]:
    picture.unlink()
    picture.symlink_to(picture.name)
    return {picture: "cannot be read", sound: "no picture or video"}


def locked(sound: Path, picture: Path) -> dict[Path, str]:
    sound.chmod(0)
    return {sound: "cannot be read (Permission denied)"}


SPOILS: list[Spoil] = [
    no_picture,
    no_sound,
    two_of_a_stem,
    corrupt_picture,
    cut_picture,
    picture_pointer,
    sound_pointer,
    empty_sound,
    empty_picture,
    cut_sound,
    no_samples,
    silence,
    not_a_number,
    not_utf8,
    a_folder,
    a_pipe,
    a_loop,
]
if os.name == "posix" and os.geteuid() != 0:  # root may read anything
    SPOILS.append(locked)


def plant(sounds: Path, pictures: Path, stem: str) -> dict[Path, str]:
    """One of each kind in these folders, named ``stem`` and a number; what is bad there, and why."""
    bad = {}
    for number, spoil in enumerate(SPOILS):
        sound = write_sound(sounds / f"{stem}{number}.wav", number)
        bad.update(spoil(sound, write_picture(pictures / f"{stem}{number}.jpg", number)))
    return bad


def assert_found(found: Prepared, expected: Mapping[Path, str]) -> None:
    """Exactly the planted files are bad, each for its reason, which ends with a remedy."""
    reasons = dict(found.bad)
    assert sorted(path for path, _ in found.bad) == sorted(map(str, expected))
    for path, reason in expected.items():
        assert reason in reasons[str(path)]
        assert ";" in reasons[str(path)]


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to, symlinks=True))

"""N-TIDIGITS in its own layout: events of a silicon cochlea for the spoken digits of TIDIGITS."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmrl_plugins.core.interfaces import BadFileError
from scmrl_plugins.plugins.datasets.files.folders import unreadable
from scmrl_plugins.plugins.datasets.media.events import MOST, Events, refuse_disorder
from scmrl_plugins.plugins.datasets.media.read import read_bytes
from scmrl_plugins.registry.errors import near

if TYPE_CHECKING:
    import h5py

CHANNELS = 64
SIDE = 8
"""Rows and columns of the channels, the lowest in the first row."""
PARTS = ("train", "test")
LONGEST = 3600.0
"""Seconds of a plausible recording; utterances last a few."""
DIGITS = {"o": 0, "z": 0, **{str(digit): digit for digit in range(1, 10)}}
"""Oh and zero are both 0."""
_SPOKEN = re.compile(r"[oz1-9]+")


@dataclass(frozen=True)
class Recording:
    """One digit spoken once; ``path`` is ``file.hdf5#train/man-ae-a-1``."""

    path: Path
    digit: int
    speaker: str


def find_recordings(file: Path, bad: list[BadFileError]) -> dict[str, list[Recording]]:
    """The recordings of single digits of ``train`` and of ``test``, by name; the two share no speaker.

    The file has a list ``train_labels`` of names ``gender-speaker-take-digits``, groups ``train_timestamps`` and
    ``train_addresses`` with an array for each name, and the same of ``test``. A recording that is named
    otherwise, is listed twice or has no arrays goes to ``bad``. Raises ``BadFileError`` for another file.
    """
    recordings: dict[str, list[Recording]] = {part: [] for part in PARTS}
    with _opened(file, file) as data:
        for part in PARTS:
            labels = _list(_member(data, f"{part}_labels", file), "SOUV", f"its {part}_labels are no list", file)
            groups = {group: set(_member(data, group, file, group=True)) for group in _arrays_of(part)}
            for name, times in sorted(Counter(map(_text, labels)).items()):
                path = Path(f"{file}#{part}/{name}")
                spoken = name.rpartition("-")[2]
                missing = [group for group, names in groups.items() if name not in names]
                if not _SPOKEN.fullmatch(spoken):
                    bad.append(BadFileError(path, f"ends in {spoken!r}, which is no o, z or 1 to 9; leave it out"))
                elif spoken not in DIGITS:
                    continue  # several digits in a row
                elif times > 1:
                    bad.append(BadFileError(path, f"is {times} times in {part}_labels; copy the file again"))
                elif missing:
                    bad.append(BadFileError(path, f"has no array in {missing[0]}; copy the file again"))
                else:
                    recordings[part].append(Recording(path, DIGITS[spoken], "-".join(name.split("-")[:-1][:2])))
    return recordings


def decode(source: bytes | Path, name: str | Path) -> Events:
    """The events of the recording that ``name`` names after a ``#``, on 8 x 8 points of one channel.

    Cochlea channel c, of 64, is in row ``c // 8`` and column ``c % 8``. Raises ``BadFileError``, naming ``name``,
    for a recording that is missing, is damaged, has no events, or has events out of order or of no channel.
    """
    path, _, inside = str(name).rpartition("#")
    part, _, label = inside.partition("/")
    with _opened(source if isinstance(source, bytes) else Path(path or inside), name) as data:
        if not path or part not in PARTS or not label:
            raise BadFileError(
                name, "names no recording of an HDF5 file; add one, such as n-tidigits.hdf5#test/man-im-a-7"
            )
        seconds, channel = (_array(data, group, label, name) for group in _arrays_of(part))
    if len(seconds) != len(channel):
        raise BadFileError(
            name, f"has {len(seconds)} times and {len(channel)} addresses; copy the file again or leave it out"
        )
    if len(seconds) == 0:
        raise BadFileError(name, "holds no events; leave it out")
    _refuse(~((seconds >= 0) & (seconds <= LONGEST)), seconds, "times that are no seconds of a recording", name)
    valid = (channel >= 0) & (channel < CHANNELS) & (channel == np.floor(channel))
    _refuse(~valid, channel, f"addresses of no cochlea channel, which are 0 to {CHANNELS - 1}", name)
    time, channel = np.rint(seconds.astype(np.float64) * 1e6).astype(np.int64), channel.astype(np.int64)
    refuse_disorder(time, name)
    return Events(time, np.zeros_like(channel), channel // SIDE, channel % SIDE)


@contextlib.contextmanager
def _opened(source: bytes | Path, name: str | Path) -> Iterator[h5py.File]:
    import h5py

    if isinstance(source, Path) and (reason := unreadable(source)):
        raise BadFileError(name, reason)
    try:
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as start:
            read_bytes(start.read(128), name)  # refuses an empty file and git-lfs's pointer
        with h5py.File(source if isinstance(source, Path) else io.BytesIO(source), "r") as file:
            yield file
    except BadFileError:
        raise
    except Exception as error:  # h5py raises all kinds of errors, and a damaged file may fail where it is read
        raise BadFileError(name, f"not an HDF5 file that can be read ({error}); copy it again") from error


def _arrays_of(part: str) -> tuple[str, str]:
    return f"{part}_timestamps", f"{part}_addresses"


def _text(label: Any) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)


def _member(data: h5py.Group, key: str, name: str | Path, *, group: bool = False) -> Any:
    """An array or a group that is in the file itself: links to other files are not followed."""
    import h5py

    kind = "group" if group else "array"
    if "/" in key or key not in data.keys():  # noqa: SIM118  # in the group itself would follow links
        raise BadFileError(name, f"has no {kind} {key}, as n-tidigits.hdf5 does; copy it again")
    if not isinstance(data.get(key, getlink=True), h5py.HardLink):
        raise BadFileError(name, f"its {key} is a link to elsewhere, which is not followed; copy it again")
    member = data[key]
    if not isinstance(member, h5py.Group if group else h5py.Dataset):
        raise BadFileError(name, f"its {key} is no {kind}, as in n-tidigits.hdf5; copy it again")
    if not group and (member.external or member.is_virtual):
        raise BadFileError(name, f"the values of {key} are in another file, which is not read; copy it again")
    return member


def _list(array: h5py.Dataset, kinds: str, otherwise: str, name: str | Path) -> np.ndarray:
    """The values of an array of one dimension and of one of these kinds of NumPy's types, at most ``MOST``."""
    if array.shape is None or array.ndim != 1 or array.dtype.kind not in kinds:
        raise BadFileError(name, f"{otherwise}; copy the file again")
    # Chunks are read as a whole, and may be larger than the array.
    size = max(array.size, math.prod(array.chunks or ()))
    if size * max(array.dtype.itemsize, 8) > 8 * MOST:
        raise BadFileError(
            name,
            f"an array has {size:,} values, and at most {MOST:,} are read; copy the file again or leave it out",
        )
    return np.asarray(array)


def _array(data: h5py.File, group: str, label: str, name: str | Path) -> np.ndarray:
    members = _member(data, group, name, group=True)
    if "/" in label or label not in members.keys():  # noqa: SIM118
        raise BadFileError(name, f"no recording {label!r} in {group}{near(label, members)}; choose another")
    return _list(_member(members, label, name), "fiu", f"its array in {group} is no list of numbers", name)


def _refuse(wrong: np.ndarray, values: np.ndarray, what: str, name: str | Path) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise BadFileError(
            name,
            f"has {np.count_nonzero(wrong)} {what}, first event {first} with {values[first]}; "
            f"copy the file again or leave it out",
        )

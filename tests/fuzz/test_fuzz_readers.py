"""The fuzz script finds each kind of fault, and repeats its cases."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from fuzz_readers import CASE, Kind, Read, case, run
from readers import readers

from scmrl_plugins.registry import UserError


def fails(path: Path) -> None:
    raise ValueError("planted")


def refuses(path: Path) -> None:
    raise UserError("one line")


def crashes(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(path: Path) -> None:
    time.sleep(60)


def deletes(path: Path) -> None:
    Path("../nothing").unlink()


PLANTED = {
    "read": Path.read_bytes,
    "refused": refuses,
    "traceback": fails,
    "signal": crashes,
    "hang": hangs,
    "outside": deletes,
}


def planted(_folder: Path) -> dict[str, Kind]:
    """Readers that do so with cases, and read undamaged files."""

    def on_cases(read: Read) -> Read:
        return lambda path: read(path) if path.name.startswith(CASE) else None

    return {name: Kind({".txt": b"text"}, on_cases(read)) for name, read in PLANTED.items()}


@pytest.mark.slow
def test_every_fault_is_found() -> None:
    found = run(planted, len(PLANTED), seed=0, seconds=0.1)
    for name, counts in found.counts.items():
        assert counts == {name: 1}, name
    assert {fault.kind for fault in found.faults} == {"traceback", "signal", "hang", "outside"}
    assert any("ValueError: planted" in fault.message for fault in found.faults)
    assert all([*fault.files] == ["case.txt"] for fault in found.faults)
    assert found.table().splitlines()[-1].split() == ["all", "6", *"1111101"]


def test_too_much_memory_is_a_fault() -> None:
    found = run(lambda _folder: {"hang": planted(_folder)["hang"]}, 1, seed=0, memory=1 << 20)
    assert found.counts == {"hang": {"memory": 1}}


def test_undamaged_files_that_are_not_read_are_no_test() -> None:
    with pytest.raises(ValueError, match=r"any\.txt: one line"):
        run(lambda _folder: {"any": Kind({".txt": b"text"}, refuses)}, 1, seed=0)


def test_cases_follow_from_the_seed_and_the_number() -> None:
    kinds = {"text": Kind({".a": b"some text", ".b": b"some more text"}, len)}
    cases = [case(kinds, "text", number, 0) for number in range(50)]
    assert cases == [case(kinds, "text", number, 0) for number in range(50)]
    assert cases != [case(kinds, "text", number, 1) for number in range(50)]
    assert sum(content in (b"some text", b"some more text") for _, content in cases) < 10


@pytest.mark.slow
def test_some_cases() -> None:
    found = run(lambda folder: readers(folder, ["events", "idx", "configuration"]), 15, seed=0)
    assert not found.faults
    assert sum(counts.total() for counts in found.counts.values()) == 15

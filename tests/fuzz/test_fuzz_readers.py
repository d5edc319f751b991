"""The fuzz script finds each kind of fault, and repeats its cases."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from fuzz_readers import Kind, case, refused, run
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


PLANTED = {
    "read": len,
    "refused": refuses,
    "traceback": fails,
    "signal": crashes,
    "hang": hangs,
}


@pytest.mark.slow
def test_every_fault_is_found() -> None:
    kinds = {name: Kind({".txt": b"text"}, read) for name, read in PLANTED.items()}
    kinds["read"] = Kind({".txt": b"text"}, Path.read_bytes)
    found = run(kinds, len(kinds), seed=0, seconds=0.1)
    for name, counts in found.counts.items():
        assert counts == {name: 1}, name
    assert {kind for kind, _, _, _ in found.faults} == {"traceback", "signal", "hang"}
    assert any("ValueError: planted" in message for _, _, _, message in found.faults)
    assert found.table().splitlines()[-1].split() == ["all", "5", *"111110"]


def test_too_much_memory_is_a_fault() -> None:
    found = run({"any": Kind({".txt": b"text"}, hangs)}, 1, seed=0, memory=1 << 20)
    assert found.counts == {"any": {"memory": 1}}


def test_cases_follow_from_the_seed_and_the_number() -> None:
    kinds = {"text": Kind({".a": b"some text", ".b": b"some more text"}, len)}
    cases = [case(kinds, "text", number, 0) for number in range(50)]
    assert cases == [case(kinds, "text", number, 0) for number in range(50)]
    assert cases != [case(kinds, "text", number, 1) for number in range(50)]
    assert sum(content in (b"some text", b"some more text") for _, content in cases) < 10


@pytest.mark.slow
def test_some_cases(tmp_path: Path) -> None:
    kinds = readers(tmp_path, ["events", "idx", "configuration"])
    assert refused(kinds, tmp_path) == []
    found = run(kinds, 15, seed=0)
    assert not found.faults
    assert sum(counts.total() for counts in found.counts.values()) == 15

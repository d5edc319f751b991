"""Memory in use and available, and the errors that mean there was too little."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scmrl_plugins.core.system import memory
from scmrl_plugins.core.system.memory import format_bytes

CPU = torch.device("cpu")
MEBI = 2**20


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "unknown"), (0, "0.0 MiB"), (2**19, "0.5 MiB"), (300 * 2**20, "300 MiB"), (3 * 2**29, "1.5 GiB")],
)
def test_bytes_are_formatted_in_binary_units(size: int | None, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 64 bytes"),
        RuntimeError("could not create a primitive"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_lack_of_memory_is_recognized_by_its_message(error: Exception) -> None:
    assert memory.out_of_memory(error)


def test_other_errors_are_not_lack_of_memory() -> None:
    assert not memory.out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not memory.out_of_memory(ValueError("out of memory"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux reports the peak of a process")
def test_the_peak_of_memory_is_measured() -> None:
    before = memory.held(CPU)
    most = memory.peak(lambda: torch.ones(64 * MEBI // 4).sum(), CPU)
    assert before is not None
    assert most is not None
    assert 48 * MEBI < most - before < 96 * MEBI


def test_limits_of_a_process_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = memory.free(CPU)
    assert free is not None
    (tmp_path / "memory.max").write_text(f"{300 * MEBI}\n")
    (tmp_path / "memory.current").write_text(f"{100 * MEBI}\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free(CPU) == 200 * MEBI < free
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free(CPU) == pytest.approx(free, rel=0.2)

"""Damages files of every kind and reads them: ``python tests/fuzz/fuzz_readers.py --cases 20000 --seed 0``.

A reader must return or raise ``UserError``. Anything else is a fault: another error, a signal, more than 10 s of
a processor or a minute, or more than 4 GB. Cases follow from the seed and their number; those at fault are written
to ``-o``. 1,000 cases take a minute of one core. It is not part of the default run of the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import psutil

SECONDS = 10.0
WAITING = 6.0
"""How many times longer a reader may take than it computes, as other programs may compute meanwhile."""
BYTES = 4 << 30
OUTCOMES = ("read", "refused", "traceback", "signal", "hang", "memory")
TOKENS = (
    *(
        b"\x00",
        b"\xff" * 4,
        b"\x7f\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"\xff\xff\xff\x7f",
        b"\n",
        b"\r\n",
        b'"',
        b";",
    ),
    *(b"9" * 5000, b"-1", b"1e999", b"NaN", b"null", b"[" * 2000, b"{", b"a" * 100_000, b"\x1b[2J", b"\xc3\x28"),
    *(b"../../../etc/passwd", b"/dev/zero", b"file:///etc/passwd", b"RIFF", b"%!PS", b"ffconcat version 1.0\n"),
)

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """Undamaged files by their ending, and what reads one."""

    files: Mapping[str, bytes]
    read: Read


@dataclass
class Result:
    """How many cases of each kind had which outcome, and the cases at fault with their messages."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[tuple[str, int, str, str]] = field(default_factory=list)

    def table(self) -> str:
        """A row for each kind of file, and their sum."""
        rows = [*self.counts.items(), ("all", sum(self.counts.values(), Counter()))]
        lines = [f"{'kind':<14}{'cases':>9}" + "".join(f"{name:>11}" for name in OUTCOMES)]
        for kind, counts in rows:
            cells = "".join(f"{counts[name]:>11,}" for name in OUTCOMES)
            lines.append(f"{kind:<14}{counts.total():>9,}{cells}")
        return "\n".join(lines)


def damaged(files: Sequence[bytes], chosen: int, rng: np.random.Generator) -> bytes:
    """One of the files with some bits changed, or with one to four changes: bytes, tokens, and parts that are cut,
    repeated or taken from another file.
    """
    data = bytearray(files[chosen])
    if rng.random() < 0.4:
        for offset in rng.integers(0, len(data), rng.integers(1, 4)):
            data[offset] ^= 1 << int(rng.integers(8))
        return bytes(data)
    for _ in range(rng.integers(1, 5)):
        start, end = np.sort(rng.integers(0, len(data) + 1, 2)).tolist()
        # Headers decide most, so half of the changes are there.
        start = start % 256 if rng.random() < 0.5 else start
        match rng.integers(0, 7):
            case 0 | 1:
                for offset in rng.integers(start, max(start, len(data) - 1) + 1, rng.integers(1, 9)):
                    data[offset : offset + 1] = bytes([rng.integers(256)])
            case 2:
                token = TOKENS[rng.integers(len(TOKENS))]
                data[start : start + len(token) * int(rng.integers(2))] = token
            case 3:
                del data[start : max(start, end)]
            case 4:
                del data[end:]
            case 5:
                data[start:start] = data[start:end]
            case 6:
                other = files[rng.integers(len(files))]
                data[start:end] = other[start:end]
    return bytes(data)


def case(kinds: Mapping[str, Kind], kind: str, number: int, seed: int) -> tuple[str, bytes]:
    """The ending of a case's file, and its content."""
    files = kinds[kind].files
    rng = np.random.default_rng([seed, number, *kind.encode()])
    chosen = int(rng.integers(len(files)))
    return list(files)[chosen], damaged(list(files.values()), chosen, rng)


def _serve(kinds: Mapping[str, Kind], seed: int, pipe: Connection, folder: str) -> None:
    """Run the cases that arrive, in a process of its own."""
    from scmrl_plugins.registry import UserError

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")
    while True:
        kind, number = pipe.recv()
        ending, content = case(kinds, kind, number, seed)
        path = Path(folder) / f"case{ending}"
        path.write_bytes(content)
        try:
            kinds[kind].read(path)
            outcome = "read", ""
        except UserError:
            outcome = "refused", ""
        except BaseException:
            outcome = "traceback", traceback.format_exc(limit=-4)
        pipe.send(outcome)


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    case: tuple[str, int] | None = None
    started: float = 0.0
    computed: float = 0.0

    @property
    def seconds(self) -> float:
        """Processor time of the case, or a part of the time since it began, whichever is longer."""
        return max(_computed(self.process.pid) - self.computed, (time.monotonic() - self.started) / WAITING)


def refused(kinds: Mapping[str, Kind], folder: Path) -> list[str]:
    """The undamaged files that their readers do not read, which would make a test of nothing."""
    from scmrl_plugins.registry import UserError

    found = []
    for name, kind in kinds.items():
        for ending, content in kind.files.items():
            path = folder / f"undamaged{ending}"
            path.write_bytes(content)
            try:
                kind.read(path)
            except UserError as error:
                found.append(f"{name}{ending}: {error}")
    return found


def run(
    kinds: Mapping[str, Kind],
    cases: int,
    seed: int,
    workers: int = 1,
    seconds: float = SECONDS,
    memory: int = BYTES,
    report: Callable[[str], None] = lambda line: None,
) -> Result:
    """Read that many cases, divided among the kinds in turn."""
    names = list(kinds)
    result = Result({name: Counter() for name in names})
    todo: Iterator[tuple[str, int]] = ((names[number % len(names)], number) for number in range(cases))
    context = multiprocessing.get_context("fork")

    with tempfile.TemporaryDirectory() as folder:

        def start(number: int) -> _Worker:
            inner = Path(folder) / str(number)
            inner.mkdir(exist_ok=True)
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(kinds, seed, there, str(inner)), daemon=True)
            process.start()
            there.close()
            return _Worker(process, here)

        def finish(worker: _Worker, outcome: str, message: str) -> None:
            assert worker.case is not None
            kind, number = worker.case
            result.counts[kind][outcome] += 1
            if outcome not in ("read", "refused"):
                result.faults.append((kind, number, outcome, message))
                report(f"{outcome}: case {number} of {kind}: {message}")
            worker.case = None

        def replaced(number: int, worker: _Worker, outcome: str, message: str) -> _Worker:
            worker.process.kill()
            worker.process.join()
            finish(worker, outcome, message)
            return start(number)

        pool = [start(number) for number in range(workers)]
        while True:
            for worker in pool:
                if worker.case is None and (following := next(todo, None)):
                    worker.case, worker.started = following, time.monotonic()
                    worker.computed = _computed(worker.process.pid)
                    worker.pipe.send(following)
            busy = [worker for worker in pool if worker.case]
            if not busy:
                break
            ready = wait([worker.pipe for worker in busy], timeout=0.05)
            for number, worker in enumerate(pool):
                if worker.case is None:
                    continue
                if worker.pipe in ready:
                    try:
                        finish(worker, *worker.pipe.recv())
                    except EOFError:
                        worker.process.join()
                        pool[number] = replaced(number, worker, "signal", f"exit code {worker.process.exitcode}")
                elif _memory(worker.process.pid) > memory:
                    pool[number] = replaced(number, worker, "memory", f"more than {memory / 2**30:g} GB")
                elif worker.seconds > seconds:
                    pool[number] = replaced(number, worker, "hang", f"more than {seconds:g} s")
        for worker in pool:
            worker.process.kill()
    return result


def _memory(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def _computed(pid: int) -> float:
    with contextlib.suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    return 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 if there are faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", help="only these kinds of files")
    parser.add_argument("-o", "--output", type=Path, help="folder for the cases at fault")
    options = parser.parse_args(arguments)
    from readers import readers

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SCMRL_CACHE"] = folder
        kinds = readers(Path(folder), options.kinds)
        if unread := refused(kinds, Path(folder)):
            parser.error("; ".join(unread))
        result = run(
            kinds, options.cases, options.seed, options.workers, report=lambda line: print(line, flush=True)
        )
        for kind, number, _, _ in result.faults if options.output else ():
            ending, content = case(kinds, kind, number, options.seed)
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / f"{kind}-{number}{ending}").write_bytes(content)
    print(f"seed {options.seed}\n{result.table()}")
    return bool(result.faults)


if __name__ == "__main__":
    sys.exit(main())

"""Damages files of every kind and reads them: ``python tests/fuzz/fuzz_readers.py --cases 20000 --seed 0``.

A reader must return or raise ``UserError``. Anything else is a fault: another error, a signal, more than 5 s of a
processor or half a minute, more than 4 GB, or a change of a file outside of the folder of the case. Cases follow
from the seed and their number; those at fault are written to ``-o``. 1,000 cases take a minute of one core. It is
not part of the default run of the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import psutil

SECONDS = 5.0
WAITING = 6.0
"""How many times longer a reader may take than it computes, as other programs may compute meanwhile."""
BYTES = 4 << 30
OUTCOMES = ("read", "refused", "traceback", "signal", "hang", "memory", "outside")
FINE = ("read", "refused")
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

CHANGING = {
    *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod"),
    *(
        "shutil.rmtree",
        "shutil.move",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "socket.connect",
    ),
}
"""Events of ``sys.addaudithook`` beside ``open``; their first argument is a path, a program or a socket."""

CASE = "case"
"""The file of a case, but for its ending."""

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """Undamaged files by their ending, and what reads one."""

    files: Mapping[str, bytes]
    read: Read


Make = Callable[[Path], Mapping[str, Kind]]
"""Makes the kinds, with files of theirs in a folder."""


@dataclass(frozen=True)
class Fault:
    """A case that is neither read nor refused, with its file."""

    kind: str
    number: int
    outcome: str
    message: str
    files: Mapping[str, bytes]


@dataclass
class Result:
    """How many cases of each kind had which outcome, and the cases at fault with their messages."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(
        self, kind: str, number: int, outcome: str, message: str, folder: Path, report: Callable[[str], None]
    ) -> None:
        """Count a case; ``folder`` has its file where it is at fault."""
        self.counts[kind][outcome] += 1
        if outcome not in FINE:
            files = {path.name: path.read_bytes() for path in folder.glob(f"{CASE}*")}
            self.faults.append(Fault(kind, number, outcome, message, files))
            report(f"{outcome}: case {number} of {kind}: {message}")

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
            path.unlink()
    return found


def changes_outside(folder: Path) -> list[str]:
    """A list to which every change of a file outside of a folder is added, from now on."""
    found: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in CHANGING:
            return
        written = event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else None
        inside = path is not None and (path == os.devnull or Path(os.path.realpath(path)).is_relative_to(folder))
        # A number is a file that is open already, of a pipe for instance.
        if written and not inside and not isinstance(arguments[0], int):
            found.append(f"{event} {arguments[0]!r}")

    sys.addaudithook(hook)
    return found


def _serve(make: Make, seed: int, pipe: Connection, folder: Path) -> None:
    """Make the kinds, and run the cases that arrive, in a process of its own."""
    from scmrl_plugins.registry import UserError

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")
    tempfile.tempdir = os.environ["SCMRL_CACHE"] = str(folder)
    os.chdir(folder)
    kinds = make(folder / "kinds")
    pipe.send((list(kinds), refused(kinds, folder)))
    outside = changes_outside(folder)
    while True:
        kind, number = pipe.recv()
        ending, content = case(kinds, kind, number, seed)
        path = folder / f"{CASE}{ending}"
        path.write_bytes(content)
        outside.clear()
        try:
            kinds[kind].read(path)
            outcome = "read", ""
        except UserError:
            outcome = "refused", ""
        except BaseException:
            outcome = "traceback", traceback.format_exc(limit=-4)
        if outside:
            outcome = "outside", "; ".join(outside)
        if outcome[0] in FINE:
            path.unlink()
        pipe.send(outcome)


@dataclass
class _Worker:
    """A process that reads cases, one after the other. Nothing else may run what is tried: a fork of a process in
    which torch has computed may wait for threads that it does not have.
    """

    process: Any
    pipe: Connection
    folder: Path
    case: tuple[str, int] | None = None
    started: float = 0.0
    computed: float = 0.0

    def begin(self, case: tuple[str, int]) -> None:
        self.case, self.started, self.computed = case, time.monotonic(), _computed(self.process.pid)
        self.pipe.send(case)

    @property
    def seconds(self) -> float:
        """Processor time of the case, or a part of the time since it began, whichever is longer."""
        return max(_computed(self.process.pid) - self.computed, (time.monotonic() - self.started) / WAITING)

    def outcome(self, ready: bool, seconds: float, memory: int) -> tuple[str, str] | None:
        """Of the case, with a message; none while it runs."""
        if ready:
            try:
                found: tuple[str, str] = self.pipe.recv()
            except EOFError:
                self.process.join()
                return "signal", f"exit code {self.process.exitcode}"
            return found
        if _memory(self.process.pid) > memory:
            return "memory", f"more than {memory / 2**30:g} GB"
        return ("hang", f"more than {seconds:g} s") if self.seconds > seconds else None

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def run(
    make: Make,
    cases: int,
    seed: int,
    workers: int = 1,
    seconds: float = SECONDS,
    memory: int = BYTES,
    report: Callable[[str], None] = lambda line: None,
    minutes: float = math.inf,
) -> Result:
    """Read that many cases, or as many as begin in time, divided in turn among the kinds that ``make`` makes in a
    folder.
    """
    result, end = Result(), time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("fork")

    with tempfile.TemporaryDirectory() as folder:

        def start() -> _Worker:
            inner = Path(tempfile.mkdtemp(dir=folder)).resolve()
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(make, seed, there, inner), daemon=True)
            process.start()
            there.close()
            return _Worker(process, here, inner)

        def names(worker: _Worker) -> list[str]:
            found, unread = worker.pipe.recv()
            if unread:
                raise ValueError(f"undamaged files are not read: {'; '.join(unread)}")
            return list(found)

        pool = [start() for _ in range(workers)]
        kinds = max(names(worker) for worker in pool)  # which are equal
        result.counts |= {name: Counter() for name in kinds}
        todo = ((kinds[number % len(kinds)], number) for number in range(cases))
        while True:
            for worker in pool:
                if not worker.case and time.monotonic() < end and (following := next(todo, None)):
                    worker.begin(following)
            busy = [worker for worker in pool if worker.case]
            if not busy:
                break
            ready = wait([worker.pipe for worker in busy], timeout=0.05)
            for number, worker in enumerate(pool):
                if not (worker.case and (ended := worker.outcome(worker.pipe in ready, seconds, memory))):
                    continue
                result.add(*worker.case, *ended, worker.folder, report)
                worker.case = None
                if ended[0] not in FINE:
                    worker.end()
                    pool[number] = start()
                    names(pool[number])
        for worker in pool:
            worker.end()
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
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further case after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", help="only these kinds of files")
    parser.add_argument("-o", "--output", type=Path, help="folder for the cases at fault")
    options = parser.parse_args(arguments)

    def make(folder: Path) -> Mapping[str, Kind]:
        from readers import readers

        return readers(folder, options.kinds)

    try:
        result = run(
            make,
            options.cases,
            options.seed,
            options.workers,
            report=lambda line: print(line, flush=True),
            minutes=options.minutes,
        )
    except ValueError as error:
        parser.error(str(error))
    for fault in result.faults if options.output else ():
        options.output.mkdir(parents=True, exist_ok=True)
        for name, content in fault.files.items():
            (options.output / f"{fault.kind}-{fault.number}-{name}").write_bytes(content)
    print(f"seed {options.seed}\n{result.table()}")
    return bool(result.faults)


if __name__ == "__main__":
    sys.exit(main())

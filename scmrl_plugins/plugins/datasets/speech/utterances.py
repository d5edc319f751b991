"""Utterances spoken by eSpeak NG in a separate process, bit-identical every time."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from scmrl_plugins.plugins.datasets.speech import espeak
from scmrl_plugins.registry import UserError


@dataclass(frozen=True)
class Utterance:
    """A text and how to say it: voice ``accent+variant``, rate in words a minute, pitch 0 to 99."""

    text: str
    voice: str
    rate: int
    pitch: int

    @property
    def style(self) -> str:
        """Voice, rate and pitch as part of an id: ``en-us+f3-r160-p50``."""
        return f"{self.voice}-r{self.rate}-p{self.pitch}"


def speak(utterances: Sequence[Utterance]) -> Iterator[tuple[np.ndarray, int]]:
    """For each utterance its samples, float32 ``[n]`` in [-1, 1], and their rate in Hz, as they are made.

    One new process speaks the list in its order, so the result depends on the list alone. Raises
    ``UserError`` if eSpeak NG is not installed or fails.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise espeak.missing()
    encoded = json.dumps([[each.text, each.voice, each.rate, each.pitch] for each in utterances])
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as complaints:
        request.write(encoded.encode())
        request.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", espeak.__name__],
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | {"PYTHONPATH": _search_path()},
        )
        assert process.stdout is not None
        try:
            for _ in utterances:
                count, rate = struct.unpack("<II", _exactly(process.stdout, 8))
                pcm = np.frombuffer(_exactly(process.stdout, 2 * count), dtype="<i2")
                yield pcm.astype(np.float32) / 32768.0, rate
            process.wait()
        except EOFError as error:
            status = process.wait()
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").strip().splitlines() or ["no message"]
            if status == 2:
                raise UserError(lines[-1]) from error
            raise UserError(
                f"eSpeak NG ended with status {status} ({lines[-1]}); reinstall it: "
                f"pip install --force-reinstall espeakng-loader"
            ) from error
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def _search_path() -> str:
    """This process's module search path, absolute, so that the child finds the same packages."""
    return os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data

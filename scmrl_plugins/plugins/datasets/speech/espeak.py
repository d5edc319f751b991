"""eSpeak NG through ctypes. Run as a program, it speaks a list of utterances in a separate process.

As a program: standard input is one JSON list of ``[text, voice, rate, pitch]``; standard output is, for each,
two little-endian 32-bit numbers (samples, Hz) and the samples as 16-bit PCM. The separate process is needed: the
library keeps state between utterances, even between initialisations, so that the same words differ by a few bits
after other ones; it has one instance a process, sets the locale, and may crash on bad data.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from pathlib import Path
from types import TracebackType

import numpy as np

from scmrl_plugins.registry import UserError

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples to the callback within the call, no sound device
_DONT_EXIT = 0x8000
_RATE, _PITCH = 1, 3
_UTF8 = 1
_SEED = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """Text to samples: ``with Speaker() as speaker: speaker.say("seven", "en-us+f3", 160, 50)``.

    One a process at a time. While it is open, the working directory is eSpeak's data folder: the library
    keeps that folder's path in 160 bytes and silently uses another installation's data where it does not fit.
    Raises ``UserError`` if eSpeak NG is not installed or cannot be started.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise missing() from error
        try:
            self._data = Path(espeakng_loader.get_data_path()).absolute()
            library = Path(espeakng_loader.get_library_path()).absolute()
            self._espeak = ctypes.CDLL(str(library))
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"eSpeak NG cannot be loaded ({error}); reinstall it: "
                f"pip install --force-reinstall espeakng-loader"
            ) from error
        self._chunks: list[np.ndarray] = []
        # Kept: ctypes frees a callback without references although the library still calls it.
        self._callback = _CALLBACK(self._collect)
        self._before = ""
        self.sample_rate = 0

    def __enter__(self) -> Speaker:
        self._before = os.getcwd()  # noqa: PTH109
        os.chdir(self._data)
        espeak = self._espeak
        espeak.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        espeak.espeak_Info.argtypes = [ctypes.POINTER(ctypes.c_char_p)]
        espeak.espeak_Info.restype = ctypes.c_char_p
        espeak.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        espeak.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self.sample_rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DONT_EXIT)
        used = ctypes.c_char_p()
        espeak.espeak_Info(ctypes.byref(used))
        if self.sample_rate <= 0 or used.value != b".":
            self.close()
            raise UserError(
                f"{self._data}: eSpeak NG cannot use its data folder; reinstall it: "
                f"pip install --force-reinstall espeakng-loader"
            )
        espeak.espeak_SetSynthCallback(self._callback)
        if hasattr(espeak, "espeak_ng_SetRandSeed"):
            espeak.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the library's buffers and restore the working directory."""
        if self.sample_rate > 0:
            self._espeak.espeak_Terminate()
            self.sample_rate = 0
        os.chdir(self._before)

    @property
    def version(self) -> str:
        """The library's version, such as ``1.52.0``."""
        return self._espeak.espeak_Info(None).decode()

    def say(self, text: str, voice: str, rate: int, pitch: int) -> np.ndarray:
        """The text as float32 samples ``[n]`` in [-1, 1] at ``sample_rate`` Hz.

        ``voice`` is an accent, or an accent and a variant, ``en-us+f3``; ``rate`` words a minute (80 to 450);
        ``pitch`` 0 to 99. Raises ``UserError`` for a voice that eSpeak NG does not have, or if it fails.
        """
        accent, _, variant = voice.partition("+")
        # Checked here: for an unknown variant the library silently uses the accent's default voice.
        if variant and not (self._data / "voices" / "!v" / variant).is_file():
            raise UserError(f"eSpeak NG has no variant {variant!r} for the voice {voice!r}; see {self._data}")
        if self._espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"eSpeak NG has no voice {accent!r}; see {self._data / 'lang'}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch)):
            status = self._espeak.espeak_SetParameter(parameter, value, 0)
            if status != 0:
                raise UserError(f"eSpeak NG refuses rate {rate}, pitch {pitch} (status {status})")
        self._chunks.clear()
        encoded = text.encode() + b"\0"
        status = self._espeak.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        status = status or self._espeak.espeak_Synchronize()
        if status != 0 or not self._chunks:
            raise UserError(f"eSpeak NG cannot say {text!r} with the voice {voice!r} (status {status})")
        return np.concatenate(self._chunks).astype(np.float32) / 32768.0

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if samples and count > 0:
            # Copied: the library reuses the buffer after this call.
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


def missing() -> UserError:
    """The error where the extra with eSpeak NG is not installed."""
    return UserError("data set 'av-digits' needs eSpeak NG: pip install 'scmrl-plugins[demo]'")


def main() -> int:
    """Speak the utterances of standard input; exit status 2 and a line on standard error for a ``UserError``."""
    utterances = json.loads(sys.stdin.buffer.read())
    try:
        with Speaker() as speaker:
            for text, voice, rate, pitch in utterances:
                samples = speaker.say(text, voice, rate, pitch)
                sys.stdout.buffer.write(struct.pack("<II", len(samples), speaker.sample_rate))
                sys.stdout.buffer.write((samples * 32768.0).astype("<i2").tobytes())
            sys.stdout.buffer.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A miniature of CREMA-D: its official folders and the prepared ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from scmrl_plugins.plugins.datasets.miniatures.digits import tone
from scmrl_plugins.plugins.datasets.miniatures.urbansound8k_av import write_picture

ACTORS = ("1001", "1002", "1015", "1076", "1091")
SENTENCES = ("DFA", "IEO")
RATE = 16_000


def write_sound(path: Path, number: int) -> Path:
    """A tone of 0.05 s at CREMA-D's 16 kHz, another for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(200 + 30 * number, RATE, 0.05), RATE, subtype="PCM_16")
    return path


def write_video(
    path: Path, number: int, *, frames: int = 16, rate: int = 8, size: tuple[int, int] = (32, 24)
) -> Path:
    """A video of ``size`` (width, height) in the codecs of its ending, with a tone of a tenth of a second.

    An flv is Sorenson Spark with MP3, as CREMA-D's. A bright bar wanders down over a colour of the number's; its
    top is row ``index * height // frames`` of frame ``index``.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    colour = np.random.default_rng(number).integers(0, 128, 3).astype(np.uint8)
    with av.open(str(path), "w") as container:
        seen: Any = container.add_stream(container.default_video_codec, rate=rate)
        seen.width, seen.height, seen.pix_fmt = width, height, "yuv420p"
        heard: Any = container.add_stream(container.default_audio_codec, rate=44_100)
        for index in range(frames):
            picture = np.tile(colour, (height, width, 1))
            top = index * height // frames
            picture[top : top + height // 4] = 255
            container.mux(seen.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(seen.encode(None))
        sound = av.AudioFrame.from_ndarray(tone(440, 44_100)[None].astype(np.float32), "fltp", "mono")
        sound.sample_rate = 44_100
        container.mux([*heard.encode(sound), *heard.encode(None)])
    return path


def names(
    classes: Sequence[str], actors: Sequence[str] = ACTORS, sentences: Sequence[str] = SENTENCES
) -> list[str]:
    """``actor_sentence_emotion_level`` of every actor, sentence and emotion."""
    return [f"{actor}_{sentence}_{name}_XX" for actor in actors for sentence in sentences for name in classes]


def write_official(root: Path, classes: Sequence[str]) -> None:
    """``AudioWAV/*.wav`` and ``VideoFlash/*.flv``."""
    for number, name in enumerate(names(classes)):
        write_sound(root / "AudioWAV" / f"{name}.wav", number)
        write_video(root / "VideoFlash" / f"{name}.flv", number)


def write_prepared(root: Path, classes: Sequence[str]) -> None:
    """``{train,test}/{audio,visual}/<class>/*.{wav,jpg}``: every seventh clip in ``test``, actors shared."""
    for number, name in enumerate(names(classes)):
        part = "test" if number % 7 == 0 else "train"
        emotion = name.split("_")[2]
        write_sound(root / part / "audio" / emotion / f"{name}.wav", number)
        write_picture(root / part / "visual" / emotion / f"{name}.jpg", number)

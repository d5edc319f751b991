"""How fast clips of video with sound become features, as a multiple of the time that they last.

    python benchmarks/clips.py [--seconds 10] [--repeats 3] [--json] [FILE ...]

Time of one processor, in which other programs do not count; without files, of generated clips of 640 x 360
pixels and 25 frames a second in several formats. Four frames a clip and a slice of its sound for each, as
av-folder stores them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, FRAMES, RATE = 640, 360, 25, 44_100
CODECS = {
    "mp4": ("libx264", "aac"),
    "webm": ("libvpx", "libopus"),
    "mpg": ("mpeg1video", "mp2"),
    "avi": ("mpeg4", "mp3"),
}


def write(path: Path, seconds: float) -> Path:
    """A clip of a drifting texture with grain, and a gliding tone."""
    import av
    import numpy as np

    codecs, rng = CODECS[path.suffix[1:]], np.random.default_rng(0)
    sound_rate = 48_000 if codecs[1] == "libopus" else RATE
    coarse = np.kron(rng.integers(0, 256, (24, 42, 3)), np.ones((16, 16, 1))).astype(np.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codecs[0], rate=FRAMES, bit_rate=1_000_000)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if codecs[0] == "libvpx":
            video.options = {"deadline": "realtime", "cpu-used": "8"}
        audio = container.add_stream(codecs[1], rate=sound_rate)
        audio.layout = "mono"
        for number in range(round(seconds * FRAMES)):
            shown = coarse[number % 24 :][:HEIGHT, number % 32 :][:, :WIDTH]
            grain = rng.integers(-8, 9, (HEIGHT, WIDTH, 1), dtype=np.int16)
            frame = av.VideoFrame.from_ndarray((shown + grain).clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        t = np.arange(round(seconds * sound_rate)) / sound_rate
        wave = (0.3 * np.sin(2 * np.pi * (200 + 50 * t) * t))[None].astype(np.float32)
        sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        sound.sample_rate = sound_rate
        length = audio.codec_context.frame_size or 1024
        resampler = av.AudioResampler(audio.codec_context.format, "mono", sound_rate, length)
        for part in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(audio.encode(part))
        container.mux(audio.encode(None))
    return path


def measure(path: Path, repeats: int) -> dict[str, Any]:
    """Seconds of the clip, seconds of the processor to transform it at least, and their ratio."""
    from scmrl_plugins.core.interfaces import ModelConfig
    from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder
    from scmrl_plugins.plugins.datasets.media import video

    dataset = AVFolder(AVFolder.Config(classes=("a", "b"), sample_rate=16_000, align="step"), ModelConfig(steps=4))
    rows = {name: [{"bytes": None, "path": str(path)}] for name in ("audio", "visual")}
    lasting = video.expected_times(path, path).end()
    taken = []
    for _ in range(repeats + 1):  # of which the first one imports what is needed
        started = time.process_time()
        dataset.transform(rows)
        taken.append(time.process_time() - started)
    least = min(taken[1:])
    return {"file": path.name, "seconds": lasting, "processor": least, "ratio": lasting / least}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="scmrl-clips-") as folder:
        paths = arguments.files or [write(Path(folder) / f"clip.{name}", arguments.seconds) for name in CODECS]
        found = [measure(path, arguments.repeats) for path in paths]
    if arguments.json:
        print(json.dumps({"clips": found, "processor": platform.processor()}))
        return
    for row in found:
        print(f"{row['file']:<24} {row['seconds']:6.2f} s in {row['processor']:.3f} s: {row['ratio']:.1f} times")


if __name__ == "__main__":
    main()

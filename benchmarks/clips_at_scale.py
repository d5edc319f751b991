"""Many clips prepared by two processes: rate, memory, and the same features after kills at random moments.

    python benchmarks/clips_at_scale.py [--clips 2000] [--fewer 250] [--kills 6] [-o DIR]

Generates mp4 clips of 2 s with sound, prepares a few of them and all of them with ``scmrl data prepare``, each
into an empty cache, and measures the memory of all processes of the command. Prepares all of them once more, with
SIGKILL at random moments, alternately to the command alone and to its workers too, and compares each stored file
with that of the undisturbed run. Needs Linux. ``-o`` writes ``clips.md`` and ``clips.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SECONDS, FRAMES, WIDTH, HEIGHT, RATE = 2, 12, 96, 72, 16_000
WORKERS = 2
INTERVAL = 0.25
"""Seconds between measurements of memory."""
SPLITS = ("train",) * 7 + ("validation",) + ("test",) * 2
"""Of clips in the order of their numbers, over and over."""
SETTINGS = ("model.steps=4", "model.image_size=64", "dataset.align=step")


def write(root: Path, number: int) -> None:
    """A clip of its number's texture, which drifts, and of its number's tone, which glides."""
    import av
    import numpy as np

    folder = root / SPLITS[number % len(SPLITS)] / f"class{number // len(SPLITS) % 2}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    texture = np.kron(rng.integers(0, 256, (HEIGHT // 8 * 2, WIDTH // 8 * 2, 3), np.uint8), np.ones((8, 8, 1)))
    t = np.arange(SECONDS * RATE) / RATE
    wave = 0.3 * np.sin(2 * np.pi * (rng.uniform(200, 800) + rng.uniform(0, 200) * t) * t)
    with av.open(str(folder / f"{number:05d}.mp4"), "w") as container:
        video: Any = container.add_stream("mpeg4", rate=FRAMES)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio: Any = container.add_stream("aac", rate=RATE, layout="mono")
        for index in range(SECONDS * FRAMES):
            shown = np.ascontiguousarray(texture[index:, index:][:HEIGHT, :WIDTH].astype(np.uint8))
            container.mux(video.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
        sound.sample_rate = RATE
        container.mux([*audio.encode(sound), *audio.encode(None)])


def generate(root: Path, count: int) -> None:
    """``count`` clips in the folders of splits and classes."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(functools.partial(write, root), range(count), chunksize=16)


def linked(root: Path, few: Path, count: int) -> None:
    """The first ``count`` clips of a folder in another one."""
    for path in root.rglob("*.mp4"):
        if int(path.stem) < count:
            link = few / path.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path)


def start(root: Path, cache: Path) -> subprocess.Popen[str]:
    """``scmrl data prepare`` in a session of its own."""
    sets = [text for setting in SETTINGS for text in ("--set", setting)]
    command = ["data", "prepare", "av-folder", "--root", str(root), "--workers", str(WORKERS), "--json", *sets]
    return subprocess.Popen(
        [sys.executable, "-m", "scmrl_plugins", *command],
        env={**os.environ, "SCMRL_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def held(session: int) -> int:
    """Bytes that the processes of a session hold, a page that several of them share counted once (PSS)."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # which has ended meanwhile
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def undisturbed(root: Path, cache: Path) -> dict[str, Any]:
    """Clips, seconds, those of processors, and the peak of memory in bytes of a complete preparation."""
    began, before = time.perf_counter(), os.times()
    process, peak = start(root, cache), 0
    while process.poll() is None:
        peak = max(peak, held(process.pid))
        time.sleep(INTERVAL)
    seconds, after = time.perf_counter() - began, os.times()
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(errors)
    splits = json.loads(output)["splits"]
    return {
        "clips": sum(split["samples"] for split in splits.values()),
        "seconds": seconds,
        "processor": after.children_user + after.children_system - before.children_user - before.children_system,
        "memory": peak,
        "stored": sum(split["bytes"] for split in splits.values()),
    }


def killed(root: Path, cache: Path, kills: int, seconds: float) -> dict[str, Any]:
    """How many kills came while it worked, and the clips that were stored then; at last it runs to its end.

    ``seconds``: about as long as an undisturbed run.
    """
    draw, stored = random.Random(), []
    for number in range(kills):
        process = start(root, cache)
        time.sleep(draw.uniform(0, 2 * seconds / (kills + 1)))
        if process.poll() is None:
            if number % 2:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            stored.append(records(cache))
        process.communicate()
    process = start(root, cache)
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(errors)
    splits = json.loads(output)["splits"].values()
    return {"kills": len(stored), "stored": stored, "before": sum(split["before"] for split in splits)}


def records(cache: Path) -> int:
    """Clips whose features are stored."""
    return sum(json.loads(path.read_text())["rows"] for path in cache.glob("features/*/*.json"))


def differing(one: Path, other: Path) -> list[str]:
    """The files that are not the same to the bit in two caches."""
    names = {path.relative_to(cache) for cache in (one, other) for path in cache.rglob("*") if path.is_file()}
    return sorted(str(name) for name in names if content(one / name) != content(other / name))


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def measure(folder: Path, clips: int, fewer: int, kills: int) -> dict[str, Any]:
    """All that the benchmark finds."""
    root, few = folder / "clips", folder / "few"
    generate(root, clips)
    linked(root, few, fewer)
    small = undisturbed(few, folder / "small")
    large = undisturbed(root, folder / "large")
    disturbed = killed(root, folder / "killed", kills, large["seconds"])
    return {
        "small": small,
        "large": large,
        "growth": large["memory"] / small["memory"] - 1,
        "killed": disturbed,
        "differing": differing(folder / "large", folder / "killed"),
    }


def markdown(found: dict[str, Any]) -> str:
    """The tables of the report."""
    from scmrl_plugins.core.system.memory import format_bytes

    rows = [
        f"| {each['clips']:,} | {each['seconds']:.0f} s | {each['clips'] / each['seconds']:.1f} | "
        f"{each['processor']:.0f} s | {format_bytes(each['memory'])} | {format_bytes(each['stored'])} |"
        for each in (found["small"], found["large"])
    ]
    done, same = found["killed"], not found["differing"]
    stored = ", ".join(f"{count:,}" for count in done["stored"])
    return "\n".join(
        [
            f"Clips of {SECONDS} s, {WIDTH} x {HEIGHT} pixels, {FRAMES} frames a second (MPEG-4, AAC), prepared "
            f"by {WORKERS} processes; start of the command included:",
            "",
            "| clips | time | clips a second | of processors | most memory of all processes | features |",
            "|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            f"- memory of {found['large']['clips']:,} clips / of {found['small']['clips']:,}: "
            f"{1 + found['growth']:.3f}",
            f"- killed {done['kills']} times while it ran, when {stored} clips were stored; the last run found "
            f"{done['before']:,} of them, and the features "
            f"{'are the same to the bit' if same else 'DIFFER: ' + ', '.join(found['differing'])}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--fewer", type=int, default=250)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("-o", dest="out", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    from scmrl_plugins.core.config.sections import ExperimentConfig
    from scmrl_plugins.core.run import environment

    with tempfile.TemporaryDirectory(prefix="scmrl-clips-") as folder:
        found = measure(Path(folder), arguments.clips, arguments.fewer, arguments.kills)
    command = f"python benchmarks/clips_at_scale.py --clips {arguments.clips} --kills {arguments.kills}"
    machine, described = environment.hardware("cpu"), environment.describe(ExperimentConfig())
    line = environment.provenance(command, f"{machine['cpu']}, {machine['cores']} cores", described)
    text = f"{markdown(found)}\n- {line}\n"
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "clips.md").write_text(text)
        record = {"command": command, **found, "hardware": machine, "environment": described}
        (arguments.out / "clips.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

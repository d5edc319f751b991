"""The readers that ``fuzz_readers.py`` tries, each with undamaged files, which are made here."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_readers import Kind

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.interfaces import Dataset, ModelConfig

RATE = 16_000
IMAGE_SIZE = 16
CLASSES = ("a", "b")


def readers(folder: Path, names: Sequence[str] | None = None) -> dict[str, Kind]:
    """All kinds, or the named ones."""
    made = {
        "sound": sound,
        "picture": picture,
        "video": video,
        "clip": clip,
        "hub table": hub_table,
        "table": table,
        "hdf5": hdf5,
        "events": events,
        "idx": idx,
        "configuration": configuration,
        "weights": weights,
        "checkpoint": checkpoint,
        "import": imported,
        "metrics": metrics,
        "prediction": prediction,
        "upload": upload,
    }
    return {name: make(folder / name) for name, make in made.items() if not names or name in names}


def _dataset(**settings: Any) -> Dataset:
    from scmrl_plugins.plugins.datasets.hub.dataset import Hub

    config = Hub.Config(path="none", classes=CLASSES, sample_rate=RATE, **settings)
    return Hub(config, ModelConfig(steps=4, image_size=IMAGE_SIZE))


def _transform(dataset: Dataset, modality: str, path: Path) -> None:
    cell = {"bytes": None, "path": str(path)}
    rows: dict[str, list[Any]] = {"audio": [None], "visual": [None], modality: [cell]}
    [array] = dataset.transform(rows)[modality]
    assert np.isfinite(array).all()


def sound(folder: Path) -> Kind:
    import soundfile

    samples = np.random.default_rng(0).normal(0, 0.1, (RATE // 4, 2))
    made = {}
    for ending in (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au"):
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, RATE, format=ending[1:].upper())
        made[ending] = buffer.getvalue()
    dataset = _dataset()
    return Kind(made, lambda path: _transform(dataset, "audio", path))


def picture(folder: Path) -> Kind:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    made = {}
    for ending, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".gif", "GIF"), (".bmp", "BMP"), (".tif", "TIFF")):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=kind)
        made[ending] = buffer.getvalue()
    dataset = _dataset()
    return Kind(made, lambda path: _transform(dataset, "visual", path))


def video(folder: Path) -> Kind:
    import av

    made = {}
    for ending, codec in ((".mp4", "mpeg4"), (".avi", "mpeg4"), (".mkv", "mpeg4"), (".flv", "flv")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format={".mkv": "matroska"}.get(ending, ending[1:])) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            for number in range(8):
                pixels = np.full((32, 48, 3), 30 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        made[ending] = buffer.getvalue()
    dataset = _dataset(frames=4)
    return Kind(made, lambda path: _transform(dataset, "visual", path))


def clip(folder: Path) -> Kind:
    sys.path.append(str(Path(__file__).parents[1] / "helpers"))
    import clips

    made = {}
    for ending, codecs in (
        (".mp4", ("mpeg4", "aac")),
        (".mkv", ("mpeg4", "libopus")),
        (".avi", ("mpeg4", "libmp3lame")),
        (".mpg", ("mpeg1video", "mp2")),
    ):
        format = {".mkv": "matroska", ".mpg": "mpeg"}.get(ending, ending[1:])
        made[ending] = clips.clip(0.5, format=format, codecs=codecs, times=clips.even(seconds=1), sound=(0, 1))
    dataset = _dataset(align="step", clip={"start": "random", "seconds": 0.5})

    def read(path: Path) -> None:
        cell = {"bytes": None, "path": str(path)}
        for [array] in dataset.transform({"audio": [cell], "visual": [cell]}).values():
            assert np.isfinite(array).all()

    return Kind(made, read)


ROWS = [{"audio": f"{n}.wav", "visual": f"{n}.png", "label": CLASSES[n % 2], "id": f"n{n}"} for n in range(12)]


def _tables(rows: list[dict[str, str]]) -> dict[str, bytes]:
    import pyarrow
    from pyarrow import parquet

    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    return {".csv": text.getvalue().encode(), ".jsonl": lines.encode(), ".parquet": buffer.getvalue()}


def hub_table(folder: Path) -> Kind:
    from scmrl_plugins.plugins.datasets.hub.dataset import Hub

    def read(path: Path) -> None:
        config = Hub.settle(Hub.Config(path=str(path), test=0.3, validation=0.3))
        splits = Hub(config, ModelConfig(image_size=IMAGE_SIZE)).splits()
        assert all(row["label"] < len(config.classes) for split in splits.values() for row in split)

    return Kind(_tables(ROWS), read)


def table(folder: Path) -> Kind:
    from scmrl_plugins.plugins.datasets.av_folder.dataset import AVFolder

    for row in ROWS:
        for name in (row["audio"], row["visual"]):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x")
    rows = [{**row, **{name: str(folder / row[name]) for name in ("audio", "visual")}} for row in ROWS]

    def read(path: Path) -> None:
        config = AVFolder.settle(AVFolder.Config(manifest=str(path), test=0.3, validation=0.3))
        AVFolder(config, ModelConfig(image_size=IMAGE_SIZE)).splits()

    return Kind(_tables(rows), read)


def _events_dataset() -> Dataset:
    from scmrl_plugins.plugins.datasets.mnistdvs_ntidigits import MNISTDVSNTIDIGITS

    return MNISTDVSNTIDIGITS(MNISTDVSNTIDIGITS.Config(), ModelConfig(steps=4, image_size=IMAGE_SIZE))


def hdf5(folder: Path) -> Kind:
    from scmrl_plugins.core.interfaces import BadFileError
    from scmrl_plugins.plugins.datasets.miniatures.mnistdvs_ntidigits import write_ntidigits
    from scmrl_plugins.plugins.datasets.sources import ntidigits

    folder.mkdir()
    write_ntidigits(folder / "a.hdf5", {"train": ("man-ae",), "test": ("man-im",)})
    dataset = _events_dataset()

    def read(path: Path) -> None:
        bad: list[BadFileError] = []
        found = ntidigits.find_recordings(path, bad)
        for recording in [*found["train"][:5], *found["test"][:5]]:
            _transform(dataset, "audio", recording.path)

    return Kind({".hdf5": (folder / "a.hdf5").read_bytes()}, read)


def events(folder: Path) -> Kind:
    from scmrl_plugins.plugins.datasets.media import aedat
    from scmrl_plugins.plugins.datasets.miniatures.mnistdvs_ntidigits import seen

    dataset = _events_dataset()
    return Kind({".aedat": aedat.encode(seen(3, 0))}, lambda path: _transform(dataset, "visual", path))


def idx(folder: Path) -> Kind:
    import gzip

    from scmrl_plugins.plugins.datasets.media.idx import idx_bytes, read_idx

    plain = idx_bytes(np.random.default_rng(0).integers(0, 256, (20, 28, 28)))
    return Kind({"": plain, ".gz": gzip.compress(plain)}, lambda path: read_idx(path, 3))


def configuration(folder: Path) -> Kind:
    resolved = layers.to_toml(layers.compose()).encode()
    short = b'[model]\nsteps = 2\n\n[train]\nlr = 1e-3\nepochs = 3\nprecision = "fp32"\n[[loss]]\nname = "ce"\n'
    return Kind({".toml": resolved, ".short.toml": short}, lambda path: layers.compose([path]))


def _run(folder: Path) -> Any:
    from scmrl_plugins.core.model.assembly import assemble
    from scmrl_plugins.core.run.directory import create_run

    sizes = ["model.steps=2", "model.embed_dims=8", "model.num_heads=2", "model.image_size=16"]
    config = layers.compose(sets=[*sizes, "dataset.name=spoken-digits"])
    return create_run(folder, assemble(config))


def weights(folder: Path) -> Kind:
    from scmrl_plugins.core.run.weights import load_weights

    run = _run(folder)
    model = run.load_model()
    content = {".safetensors": run.weights_file.read_bytes()}
    return Kind(content, lambda path: load_weights(path, model))


def checkpoint(folder: Path) -> Kind:
    import torch

    from scmrl_plugins.core.run.weights import TrainingState, load_training, save_training

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    folder.mkdir()
    save_training(folder / "a.safetensors", model, optimizer, TrainingState(epoch=1))
    content = {".safetensors": (folder / "a.safetensors").read_bytes()}
    return Kind(content, lambda path: load_training(path, model, optimizer))


def imported(folder: Path) -> Kind:
    import argparse

    import torch
    from safetensors.torch import save

    from scmrl_plugins.core.run import checkpoints
    from scmrl_plugins.core.run.importing import fill

    model = _run(folder).load_model()
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    timm = {"epoch": 3, "args": argparse.Namespace(lr=0.1), "metric": np.float64(0.5), "state_dict": parallel}

    def saved(content: Any, zipped: bool = True) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
        return buffer.getvalue()

    content = {".pt": saved(state), ".pth.tar": saved(timm), ".pth": saved(timm, zipped=False)}
    content[".safetensors"] = save(state)
    return Kind(content, lambda path: fill(path, model, checkpoints.read(path).tensors))


def metrics(folder: Path) -> Kind:
    from scmrl_plugins.explain import report

    run = _run(folder)
    epoch = {"lr": 1e-3, "train_loss": 1.1, "train_accuracy": 0.3, "terms": {"ce": 1.1}, "seconds": 0.1}
    epoch |= {"validation_loss": 1.0, "validation_accuracy": 0.4}
    lines: list[dict[str, Any]] = [{"epoch": number, **epoch} for number in (1, 2, 3)]
    lines.append({"split": "test", "protocol": "honest", "best_epoch": 1, "skipped": 0, "n": 20, "accuracy": 0.5})
    lines[-1] |= {"loss": 1.0, "macro_f1": 0.5, "per_class": {str(digit): 0.5 for digit in range(10)}}
    lines[-1] |= {"confusion": np.eye(10, dtype=int).tolist(), "firing_rates": {"backbones.audio.neuron": 0.1}}

    def read(path: Path) -> None:
        run.metrics_file.write_bytes(path.read_bytes())
        report.write(run)

    return Kind({".jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode()}, read)


def _samples(folder: Path) -> dict[str, bytes]:
    """A sound, a picture and a video of both."""
    clips_made = clip(folder / "clips").files
    return {
        ".wav": sound(folder / "sounds").files[".wav"],
        ".flac": sound(folder / "sounds").files[".flac"],
        ".png": picture(folder / "pictures").files[".png"],
        ".jpg": picture(folder / "pictures").files[".jpg"],
        ".mp4": clips_made[".mp4"],
    }


def _given(folder: Path, path: Path) -> tuple[Path, Path]:
    """A sound and a picture, one of which is the file, or both for a video."""
    if path.suffix == ".mp4":
        return path, path
    heard = path.suffix in (".wav", ".flac")
    return (path, folder / "good.png") if heard else (folder / "good.wav", path)


def prediction(folder: Path) -> Kind:
    """The files of ``scmrl predict``."""
    import torch

    from scmrl_plugins.core.evaluation.predict import Predictor

    predictor = Predictor(_run(folder / "run").assemble(), torch.device("cpu"), convert=True)
    made = _samples(folder)
    for ending in (".wav", ".png"):
        (folder / f"good{ending}").write_bytes(made[ending])

    def read(path: Path) -> None:
        [ranked] = predictor.ranked([predictor.inputs(*_given(folder, path))])
        assert abs(sum(one["probability"] for one in ranked) - 1) < 1e-4

    return Kind(made, read)


def upload(folder: Path) -> Kind:
    """Requests to ``scmrl serve``: damaged files in a form, and damaged forms."""
    import torch
    from fastapi.testclient import TestClient

    from scmrl_plugins.registry import UserError
    from scmrl_plugins.serve import app
    from scmrl_plugins.serve.answer import Answers
    from scmrl_plugins.serve.uploads import Limits

    answers = Answers(_run(folder / "run"), torch.device("cpu"), 10.0)

    @functools.cache
    def client(_process: int) -> TestClient:
        """Of one process: the thread that computes does not survive a fork."""
        created = app.create(answers, "run", Limits(1 << 20, 10.0), 4)
        return TestClient(created, raise_server_exceptions=False)

    made = _samples(folder)
    lines = []
    for name, ending in (("audio", ".wav"), ("visual", ".png")):
        (folder / f"good{ending}").write_bytes(made[ending])
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a{ending}"\r\n'
        lines += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", made[ending], b"\r\n"]
    form = b"".join([*lines, b"--x--\r\n"])

    def read(path: Path) -> None:
        if path.suffix == ".form":
            headers = {"content-type": "multipart/form-data; boundary=x"}
            done = client(os.getpid()).post("/predict", content=path.read_bytes(), headers=headers)
        elif path.suffix == ".mp4":
            done = client(os.getpid()).post("/predict", files={"video": ("a.mp4", path.read_bytes(), "video/mp4")})
        else:
            given = dict(zip(("audio", "visual"), _given(folder, path), strict=True))
            types = {".wav": "audio/wav", ".flac": "audio/flac", ".png": "image/png", ".jpg": "image/jpeg"}
            sent = {name: (file.name, file.read_bytes(), types[file.suffix]) for name, file in given.items()}
            done = client(os.getpid()).post("/predict", files=sent)
        assert done.status_code in (200, 413, 415, 422), done.text
        if done.status_code != 200:
            raise UserError(done.json()["detail"])

    return Kind({**made, ".form": form}, read)

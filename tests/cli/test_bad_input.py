"""What a user gets wrong is one line on standard error and exit code 2: no traceback, nothing on stdout."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli_runs import SMALL, TINY, Outcome, assert_refused, contents, fork_scmrl, invoke
from PIL import Image

BUILD = ["build", *SMALL, "--device", "cpu", "--json"]


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The trained run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["biuld"], ["no command 'biuld'", "'build'"]),
        (["xyzzy"], ["no command 'xyzzy'", "commands are build, train"]),
        (["--nonsense"], ["--nonsense"]),
        (["build", "--fusoin", "cmrl"], ["no option '--fusoin' (did you mean '--fusion'?)"]),
        (["build", "--fusion"], ["--fusion", "requires an argument"]),
        (["build", "something"], ["something"]),
        (["build", "--device", "gpu"], ["--device", "'gpu'", "cuda"]),
        (["plugins", "all"], ["all"]),
        (["eval"], ["RUN"]),
        (["predict"], ["RUN"]),
        (["explain"], ["RUN"]),
        (["eval", "run", "--split", "tset"], ["tset", "test"]),
        (["eval", "run", "--seed", "-1"], ["--seed", "-1"]),
        (["eval", "run", "--audio-snr", "loud"], ["--audio-snr", "loud"]),
        (["eval", "run", "--audio-snr", "nan"], ["--audio-snr", "nan"]),
        (["eval", "run", "--visual-snr", "-inf"], ["--visual-snr", "inf"]),
        (["eval", "run", "--visual-snr", "-1e9"], ["--visual-snr", "-200"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_commands_and_options(args: list[str], words: list[str]) -> None:
    assert_refused(invoke(*args), *words)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--fusion", "cmlr"], ["unknown fusion 'cmlr'", "'cmrl'", "the options"]),
        (["--neuron", "lifnode"], ["unknown neuron 'lifnode'", "'LIFNode'"]),
        (["--dataset", "av-digit"], ["unknown dataset 'av-digit'", "'av-digits'"]),
        (["--loss", "ce", "--loss", "soa"], ["unknown loss 'soa'", "'sao'"]),
        (["--readout", "braincog:add"], ["unknown readout 'braincog:add'"]),
        (["--encoder", ""], ["unknown encoder ''"]),
        (["--set", "fusion.alhpa=1.0"], ["fusion.alhpa", "'alpha'", "--set"]),
        (["--set", "fusoin.alpha=1.0"], ["fusoin", "'fusion'"]),
        (["--set", "train.epoch=1"], ["train.epoch", "'epochs'"]),
        (["--set", "model.stesp=1"], ["model.stesp", "'steps'"]),
        (["--loss", "ce", "--set", "loss.ce.wieght=1.0"], ["loss.0.wieght"]),
        (["--set", "loss.ce.weight=1.0"], ["loss.ce", "no losses are listed", "--loss"]),
        (["--set", "model.steps=" + "9" * 5000], ["model.steps"]),
        (["--set", "a." * 3000 + "b=1"], ["nested too deeply"]),
        (["--set", "fusion.alpha=high"], ["fusion.alpha", "'high'"]),
        (["--set", "model.steps=2.5"], ["model.steps", "2.5"]),
        (["--set", 'model.steps="2"'], ["model.steps", "'2'"]),
        (["--set", "model.steps=0"], ["model.steps", "greater than or equal to 1"]),
        (["--set", "model.steps=nan"], ["model.steps", "nan"]),
        (["--set", "fusion.alpha=nan"], ["fusion.alpha", "finite"]),
        (["--set", "fusion=3"], ["fusion", "must be a section"]),
        (["--set", "fusion.name=3"], ["fusion.name", "string"]),
        (["--set", "model=3"], ["model"]),
        (["--set", "loss=3"], ["loss"]),
        (["--set", "loss.7.weight=1.0"], ["loss.7", "no losses"]),
        (["--set", "fusion.attention=temproal"], ["fusion.attention", "temproal"]),
        (["--set", "fusion.alpha"], ["--set fusion.alpha", "KEY=VALUE"]),
        (["--set", "=3"], ["--set =3", "KEY=VALUE"]),
        (["--set", "fusion..alpha=3"], ["KEY=VALUE"]),
        (["--set", "model.num_heads=3"], ["num_heads = 3", "embed_dims = 16"]),
        (["--set", "model.embed_dims=20", "--set", "model.image_size=64"], ["embed_dims = 20", "8", "deep"]),
        (["--set", "train.protocol=best"], ["train.protocol", "honest"]),
        (["--loss", "sao", "--fusion", "late"], ["loss 'sao'", "'cmrl'"]),
        (["--loss", "sao", "--fusion", "audio"], ["loss 'sao'"]),
        (["--neuron", "ReLUNode", "--set", "neuron.surrogate=atan"], ["neuron.surrogate", "ReLUNode"]),
        (["--neuron", "LIFNode", "--set", "neuron.options.thresh=1"], ["neuron.options.thresh", "LIFNode"]),
        (["--neuron", "LIFNode", "--set", "neuron.options.act_fun=__import__('os')"], ["act_fun"]),
        (["--set", "neuron.surrogate=eval"], ["neuron.surrogate"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_configurations(args: list[str], words: list[str]) -> None:
    assert_refused(invoke(*BUILD, *args), *words)


def write(text: str | bytes) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(text if isinstance(text, bytes) else text.encode()), None)[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, ["no such configuration file"]),
        (lambda path: path.mkdir(), ["not a regular file"]),
        (write(b"\xff\xfe\x00\x01"), ["not text in UTF-8"]),
        (write("steps = = 3"), ["not valid TOML", "line 1"]),
        (write("[model\n"), ["not valid TOML"]),
        (write("x = " + "[" * 5000), ["not valid TOML"]),
        (write('extends = "base.toml"'), ["extends must be a list"]),
        (write("extends = [3]"), ["extends must be a list"]),
        (write('extends = ["mine.toml"]'), ["extends itself", "mine.toml"]),
        (write('fusion = "late"'), ["fusion", "must be a section"]),
        (write("[fusoin]\nalpha = 1.0"), ["fusoin", "'fusion'"]),
        (write("[fusion]\nalhpa = 1.0"), ["fusion.alhpa", "'alpha'"]),
        (write("[train]\nepochs = true"), ["train.epochs", "True"]),
        (write("[train]\nepochs = 1979-05-27"), ["train.epochs"]),
        (write("loss = [1, 2]"), ["loss.0"]),
        (write("[[loss]]\nweight = 1.0"), ["loss.0.name", "missing"]),
    ],
)
def test_wrong_configuration_files(make: Callable[[Path], None], words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    make(path)
    assert_refused(invoke(*BUILD, "-c", path), "mine.toml", *words)


def test_a_file_that_extends_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = ["not-there.toml"]')
    done = invoke(*BUILD, "-c", tmp_path / "mine.toml")
    assert_refused(done, str(tmp_path / "not-there.toml"), "no such configuration file")


def test_files_that_extend_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = ["b.toml"]')
    (tmp_path / "b.toml").write_text('extends = ["a.toml"]')
    assert_refused(invoke(*BUILD, "-c", tmp_path / "a.toml"), "a.toml -> b.toml")


@pytest.mark.usefixtures("obeying_modes")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("")
    path.chmod(0)
    assert_refused(invoke(*BUILD, "-c", path), "mine.toml", "cannot be read as a configuration: Permission denied")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["build", "train"])
def test_a_run_cannot_lie_inside_a_file(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    args = [*TINY, "--device", "cpu", "-o"]
    assert_refused(invoke(command, *args, tmp_path / "file" / "run"), str(tmp_path / "file"))
    assert_refused(invoke(command, *args, tmp_path / "file"), "already exists")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("obeying_modes")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(invoke(*BUILD, "-o", tmp_path / "locked" / "run"), "locked", "cannot be written")


OUTPUTS = [
    ["eval", "run", "--predictions"],
    ["eval", "run", "--snr", "0", "--plot"],
    ["train", "--predictions"],
    ["explain", "run", "-o"],
    ["data", "show", "av-digits", "-o"],
    ["data", "prepare", "av-digits", "--left-out"],
    ["data", "import-video", "clips", "-o"],
    ["bench", "accuracy", "grid.toml", "-o"],
    ["bench", "speed", "-o"],
    ["bench", "data", "-o"],
    ["sweep", "sweep.toml", "-o"],
]
"""Options that name what is written at the end."""


@pytest.mark.usefixtures("obeying_modes")
@pytest.mark.parametrize("args", OUTPUTS, ids=" ".join)
def test_what_cannot_be_written_at_the_end_is_refused_at_once(args: list[str], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    (tmp_path / "hidden").mkdir(mode=0)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("locked/out.csv", "cannot be written"),
        ("hidden/out.csv", "Permission denied"),
        ("file/out.csv", "is no folder"),
        ("link", "a link to nowhere, which does not exist"),
        ("pipe", "a file"),  # is none, or is one, where a directory is expected
    ):
        assert_refused(invoke(*args, tmp_path / name), f"{name}", reason, args[-1])
    (tmp_path / "hidden").chmod(0o700)
    left = {path.name for path in tmp_path.rglob("*") if path != Path.cwd()}
    assert left == {"locked", "hidden", "file", "link", "pipe"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("args", [BUILD[:-3], ["eval", "run"], ["predict", "run", "--audio", "a.wav"], ["demo"]])
def test_a_device_that_is_not_there(args: list[str], tmp_path: Path) -> None:
    assert_refused(invoke(*args, "--device", "cuda"), "--device cuda", "--device cpu")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("args", [["eval"], ["predict", "--audio", "a.wav"], ["explain"], ["train"]])
def test_a_run_that_is_not_there(args: list[str], tmp_path: Path) -> None:
    assert_refused(invoke(args[0], "no/such/run", *args[1:]), "no/such/run", "no run there")
    assert_refused(invoke(args[0], tmp_path, *args[1:]), str(tmp_path), "no run there")
    (tmp_path / "file").write_text("")
    assert_refused(invoke(args[0], tmp_path / "file", *args[1:]), "no run there")


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_weights(damage: str, copy: Path) -> None:
    weights = copy / "model.safetensors"
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-100])
    for args in (["eval", copy, "--json"], ["train", copy]):
        assert_refused(invoke(*args, "--device", "cpu"), "model.safetensors")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("embed_dims = 16", "embed_dims = 32"),
        ('name = "cmrl"', 'name = "late"'),
        ('name = "add"', 'name = "concat"'),
    ],
)
def test_weights_of_another_model(old: str, new: str, copy: Path) -> None:
    config = (copy / "config.toml").read_text()
    assert old in config
    if "late" in new:  # without the settings that it does not have
        section = config[config.index("[fusion]") :].split("\n\n")[0]
        config = config.replace(section, '[fusion]\nname = "cmrl"')
        config = "\n".join(line for line in config.split("\n") if '"fusion.' not in line)
    (copy / "config.toml").write_text(config.replace(old, new))
    done = invoke("eval", copy, "--device", "cpu", "--json")
    assert_refused(done, "model.safetensors", "do not fit the model", "config.toml")


@pytest.mark.parametrize("text", ["", "[model\n", "[modle]\nsteps = 2\n"])
def test_a_damaged_configuration_of_a_run(text: str, copy: Path) -> None:
    (copy / "config.toml").write_text(text)
    assert_refused(invoke("eval", copy, "--device", "cpu", "--json"), str(copy))


def test_a_damaged_checkpoint(copy: Path) -> None:
    (copy / "checkpoints" / "epoch-00001.safetensors").write_bytes(b"nonsense")
    assert_refused(invoke("train", copy, "--device", "cpu"), "epoch-00001.safetensors", "damaged")
    shutil.copy(copy / "model.safetensors", copy / "checkpoints" / "epoch-00001.safetensors")
    assert_refused(invoke("train", copy, "--device", "cpu"), "epoch-00001.safetensors", "not a checkpoint")


def test_damaged_metrics(copy: Path) -> None:
    (copy / "metrics.jsonl").write_text("{\n")
    assert_refused(invoke("explain", copy), "metrics.jsonl")


def test_a_run_without_a_result_has_no_report(tmp_path: Path) -> None:
    assert invoke(*BUILD, "-o", tmp_path / "run").code == 0
    assert_refused(invoke("explain", tmp_path / "run"), "not trained to the end", "scmrl train")


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["--fusion", "late"], "--fusion"),
        (["--loss", "ce"], "--loss"),
        (["--set", "train.epochs=2"], "--set"),
        (["-c", "more.toml"], "-c"),
        (["-o", "elsewhere"], "-o"),
    ],
)
def test_a_resumed_run_keeps_its_configuration(args: list[str], option: str, trained: Path) -> None:
    before = contents(trained)
    assert_refused(invoke("train", trained, *args, "--device", "cpu"), option, str(trained))
    assert contents(trained) == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.optimizer=adamwww", ["train.optimizer", "adamwww"]),
        ("train.precision=fp8", ["train.precision", "fp8"]),
        ("train.epochs=0", ["train.epochs", "greater than or equal to 1"]),
        ("train.lr=-1.0", ["train.lr", "greater than 0"]),
        ("dataset.images=5", ["dataset.images"]),
    ],
)
def test_training_with_wrong_settings(setting: str, words: list[str], tmp_path: Path) -> None:
    done = invoke("train", *TINY, "--device", "cpu", "-o", tmp_path / "run", "--set", setting)
    assert_refused(done, *words)


class Files:
    """Recordings and images, right and wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wav = self.sound("right.wav", 8000)
        self.png = self.image("right.png", 8, 8)

    def sound(self, name: str, rate: int, count: int = 800) -> Path:
        path = self.folder / name
        soundfile.write(path, np.sin(np.arange(count) / 3), rate, format="WAV")
        return path

    def image(self, name: str, width: int, height: int) -> Path:
        path = self.folder / name
        Image.fromarray(np.arange(width * height, dtype=np.uint8).reshape(height, width)).save(path)
        return path

    def text(self, name: str) -> Path:
        path = self.folder / name
        path.write_text("this is text")
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.slow
def test_files_for_predict(trained: Path, files: Files) -> None:
    def predict(audio: Path | None, visual: Path | None, *more: str) -> Outcome:
        given = [*(["--audio", audio] if audio else []), *(["--visual", visual] if visual else [])]
        return invoke("predict", trained, *given, "--device", "cpu", "--json", *more)

    right = predict(files.wav, files.png)
    assert right.code == 0
    assert_refused(predict(None, files.png), "'cmrl' needs audio", "--audio")
    assert_refused(predict(files.wav, None), "'cmrl' needs visual", "--visual")
    assert_refused(predict(None, None), "--audio")
    fast, large = files.sound("fast.wav", 16000), files.image("large.png", 9, 8)
    assert_refused(predict(fast, files.png), "fast.wav", "16000 Hz", "8000 Hz", "--convert")
    assert_refused(predict(files.wav, large), "large.png", "9x8", "8x8", "--convert")
    converted = predict(fast, large, "--convert")
    assert converted.code == 0
    assert len(json.loads(converted.out)["predictions"]) == 10
    assert_refused(predict(files.text("text.wav"), files.png), "text.wav", "not a sound file")
    assert_refused(predict(files.wav, files.text("text.png")), "text.png", "not an image")
    assert_refused(predict(files.sound("empty.wav", 8000, 0), files.png), "empty.wav", "no samples")
    assert_refused(predict(files.folder / "missing.wav", files.png), "missing.wav", "cannot be read")
    assert_refused(predict(files.wav, files.folder / "missing.png"), "missing.png", "cannot be read")
    assert_refused(predict(files.folder, files.png), str(files.folder), "cannot be read (Is a directory)")
    cut = files.folder / "cut.wav"
    cut.write_bytes(files.wav.read_bytes()[:-200])
    assert_refused(predict(cut, files.png), "cut.wav", "cut off")
    silent = files.folder / "silent.wav"
    soundfile.write(silent, np.zeros(800), 8000)
    assert_refused(predict(silent, files.png), "silent.wav", "nothing but silence")
    both = files.folder / "both.wav"
    soundfile.write(both, np.sin(np.arange(800) / 3)[:, None].repeat(2, 1), 8000)
    mixed = predict(both, files.png)
    assert mixed.err.splitlines()[:-1] == [f"note: {both}: 2 channels, averaged to one"]
    assert json.loads(mixed.out) == json.loads(right.out)


def test_spoken_digits_without_their_files(tmp_path: Path) -> None:
    def train(number: int, *args: str) -> Outcome:
        data = ["--dataset", "spoken-digits", *args]
        return invoke("train", *SMALL, *data, "--device", "cpu", "-o", tmp_path / f"run{number}")

    assert_refused(train(1), "dataset.root")
    missing = tmp_path / "missing"
    assert_refused(train(2, "--set", f"dataset.root={missing}"), str(missing), "not a folder")
    (tmp_path / "empty").mkdir()
    assert_refused(
        train(3, "--set", f"dataset.root={tmp_path / 'empty'}"), "no FSDD recordings; looked for", "recordings"
    )
    (tmp_path / "half" / "recordings").mkdir(parents=True)
    Files(tmp_path / "half" / "recordings").wav.rename(tmp_path / "half" / "recordings" / "0_theo_0.wav")
    assert_refused(train(4, "--set", f"dataset.root={tmp_path / 'half'}"), "MNIST")


@pytest.mark.parametrize("command", [["demo"], ["train", *TINY]], ids=["demo", "train"])
def test_without_espeak_the_missing_extra_is_named(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # as if it were not installed
    monkeypatch.setenv("SCMRL_CACHE", str(tmp_path / "cache"))
    done = invoke(*command, "--device", "cpu", "-o", tmp_path / "run")
    assert_refused(done, "av-digits", "pip install 'scmrl-plugins[demo]'")


@pytest.mark.slow
def test_in_a_process_of_its_own_too(trained: Path, copy: Path, small_cache: Path) -> None:
    (copy / "model.safetensors").write_bytes(b"nonsense")
    done = fork_scmrl("eval", copy, "--device", "cpu", cwd=copy.parent, SCMRL_CACHE=str(small_cache))
    assert_refused(done, "model.safetensors", "damaged")

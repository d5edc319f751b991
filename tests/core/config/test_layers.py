"""Configurations composed from layers: ``extends``, ``--set``, Python objects, and written as TOML."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from text_files import write

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.layers import as_config
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model import assembly
from scmrl_plugins.registry import KINDS, UserError, catalogue


def resolved(config: ExperimentConfig) -> dict[str, Any]:
    return assembly.assemble(config).config.model_dump()


# Layers -----------------------------------------------------------------------------------------------


def test_with_nothing_given_the_defaults_and_the_data_sets_sizes() -> None:
    config = layers.compose()
    assert config.kinds() == {
        "neuron": "lif",
        "encoder": "direct",
        "backbone": "spikformer",
        "fusion": "cmrl",
        "readout": "add",
        "loss": [],
        "dataset": "av-digits",
        "modulation": "none",
    }
    defaults = catalogue().get("dataset", "av-digits").load().defaults
    assert config.model.image_size == defaults["model"]["image_size"]
    assert config.train.seed == 42


def test_data_set_defaults_lie_below_everything_of_the_users(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", '[dataset]\nname = "blobs"\n[model]\nsteps = 3\n')
    config = layers.compose([file], sets=["train.epochs=9"])
    assert (config.model.steps, config.model.embed_dims) == (3, 8)
    assert (config.train.epochs, config.train.batch_size) == (9, 16)
    assert config.neuron.options == {"threshold": 0.3}
    # The defaults are those of the data set chosen last.
    config = layers.compose([file], options={"dataset": {"name": "av-digits"}})
    other = catalogue().get("dataset", "av-digits").load().defaults
    assert (config.model.steps, config.model.embed_dims) == (3, other["model"]["embed_dims"])
    assert config.train.batch_size == other["train"]["batch_size"]


# extends ----------------------------------------------------------------------------------------------


def test_extends_is_relative_nested_and_in_order(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", "[train]\nseed = 1\nepochs = 1\nworkers = 1\n")
    write(tmp_path / "parts" / "mid.toml", 'extends = ["../base.toml"]\n[train]\nepochs = 2\n')
    write(tmp_path / "parts" / "side.toml", "[train]\nworkers = 7\n")
    top = write(
        tmp_path / "top.toml",
        'extends = ["parts/mid.toml", "parts/side.toml"]\n[train]\nbatch_size = 3\n',
    )
    train = layers.compose([top]).train
    assert (train.seed, train.epochs, train.workers, train.batch_size) == (1, 2, 7, 3)


def test_one_base_may_be_reached_by_two_ways(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", "[train]\nseed = 1\n")
    write(tmp_path / "left.toml", 'extends = ["base.toml"]\n[train]\nseed = 2\n')
    write(tmp_path / "right.toml", 'extends = ["base.toml"]\n')
    top = write(tmp_path / "top.toml", 'extends = ["right.toml", "left.toml"]\n')
    assert layers.compose([top]).train.seed == 2


def test_files_that_extend_two_each_are_read_once(tmp_path: Path) -> None:
    """Were every way to a file read, these would be four million."""
    write(tmp_path / "0.toml", "[train]\nseed = 1\n")
    for number in range(1, 23):
        both = [f"{number - 1}.toml", f"./{number - 1}.toml"]
        top = write(tmp_path / f"{number}.toml", f"extends = {both}\n[train]\nepochs = {number}\n")
    train = layers.compose([top]).train
    assert (train.seed, train.epochs) == (1, 22)
    assert len(layers.read_file(top)) == 23


def test_a_chain_without_an_end_is_refused(tmp_path: Path) -> None:
    for number in range(2000):
        write(tmp_path / f"{number}.toml", f'extends = ["{number + 1}.toml"]\n')
    with pytest.raises(UserError, match=r"51\.toml: extends more than 50 files one after the other"):
        layers.compose([tmp_path / "0.toml"])


def test_a_circle_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", 'extends = ["b.toml"]\n')
    write(tmp_path / "b.toml", 'extends = ["./a.toml"]\n')
    with pytest.raises(UserError, match=r"a\.toml -> b\.toml; break the circle"):
        layers.compose([tmp_path / "a.toml"])


@pytest.mark.parametrize("value", ['"base.toml"', "3", "[1]", "{}"])
def test_extends_of_another_type_is_refused(tmp_path: Path, value: str) -> None:
    file = write(tmp_path / "a.toml", f"extends = {value}\n")
    with pytest.raises(UserError, match="extends must be a list of file names"):
        layers.compose([file])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such configuration file"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"[train\n", "not valid TOML"),
        (b"a = " + b"[" * 20_000, "not valid TOML"),
        (b'extends = ["nowhere.toml"]', r"nowhere\.toml: no such configuration file"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "given.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        layers.compose([path])
    with pytest.raises(UserError, match="not a regular file"):
        layers.compose([tmp_path])


# --set ------------------------------------------------------------------------------------------------


def test_a_file_as_windows_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes("[model]\r\nsteps = 2\r\n".encode("utf-8-sig"))
    assert layers.compose([path]).model.steps == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.lr=1e-3", 1e-3),
        ("train.lr = 2", 2),
        ("train.optimizer=lamb", "lamb"),
        ("train.optimizer='lamb'", "lamb"),
        ('train.optimizer="a=b"', "a=b"),
        ("train.optimizer=a=b", "a=b"),
        ("train.x=[1, 2]", [1, 2]),
        ("train.x=true", True),
        ("train.x=True", "True"),
        ("train.x=", ""),
        ("train.x=../data/set", "../data/set"),
        ("train.x=2020-01-02", datetime.date(2020, 1, 2)),
        ("train.x=" + "[" * 20_000, "[" * 20_000),
    ],
)
def test_set_takes_toml_or_a_string(text: str, value: Any) -> None:
    (key, found), *rest = layers.parse_set(text).data["train"].items()
    assert (found, rest) == (value, [])
    assert type(found) is type(value)
    assert key == text.partition("=")[0].strip().partition(".")[2]


@pytest.mark.parametrize("text", ["train.lr", "=3", "train.=3", ".lr=3", ""])
def test_set_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write KEY=VALUE"):
        layers.compose(sets=[text])


def test_a_value_that_is_more_than_one_stays_one_value() -> None:
    """A line break in the value must not smuggle in, or lose, a second assignment."""
    config = layers.parse_set("train.optimizer=1\nvalue2 = 2")
    assert config.data == {"train": {"optimizer": "1\nvalue2 = 2"}}


# From Python -------------------------------------------------------------------------------------


def test_as_config(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", "[train]\nseed = 7\n")
    assert as_config(None) == as_config({}) == layers.compose()
    assert as_config(file).train.seed == as_config(str(file)).train.seed == 7
    assert as_config({"train": {"seed": 8}}).train.seed == 8
    config = layers.compose()
    assert as_config(config) is config
    with pytest.raises(UserError, match=r"train\.sead.*the mapping"):
        as_config({"train": {"sead": 8}})


def test_the_mapping_is_not_kept() -> None:
    data = {"neuron": {"name": "LIFNode", "options": {"dt": 1.0}}}
    config = as_config(data)
    data["neuron"]["options"]["dt"] = 2.0
    assert config.neuron.options == {"options": {"dt": 1.0}}


# As TOML ---------------------------------------------------------------------------------------------

# Classes that otherwise only files could tell.
SETTLED = {
    "av-folder": {"classes": ["cat", "dog"]},
    "hub": {
        "path": "some/where",
        "sample_rate": 16_000,
        "classes": ["cat", "dog"],
        "audio_column": "sound",
        "visual_column": "image",
        "label_column": "label",
    },
}
# The settings of each component are a check of the conformance kit.


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((kind, catalogue().names(kind)[0]) for kind in KINDS), ("dataset", "hub"), ("neuron", "PLIFNode")],
)
def test_a_resolved_configuration_survives_toml(kind: str, name: str, tmp_path: Path) -> None:
    told = SETTLED.get(name, {}) if kind == "dataset" else {}
    section: Any = [{"name": name}] if kind == "loss" else {"name": name, **told}
    config = assembly.assemble(layers.compose(layers=[Layer("test", {kind: section})])).config
    file = write(tmp_path / "config.toml", layers.to_toml(config))
    again = layers.compose([file])
    assert resolved(again) == config.model_dump()
    assert layers.to_toml(assembly.assemble(again).config) == file.read_text(encoding="utf-8")


def test_what_the_user_set_survives_toml(tmp_path: Path) -> None:
    sets = [
        "neuron.name=braincog:LIFNode",
        "neuron.options.dt=0.5",
        "neuron.options.v_reset=1",
        "neuron.options.sigmoid_thres=true",
        "fusion.attention_threshold=0.5",
        "train.clip_grad=1",
        'loss=[{name="ce"}, {name="sao"}]',
        "loss.sao.weight=-0.25",
        "model.steps=2",
    ]
    config = assembly.assemble(layers.compose(sets=sets)).config
    assert config.neuron.options["options"] == {"dt": 0.5, "v_reset": 1, "sigmoid_thres": True}
    assert config.train.clip_grad == 1.0
    file = write(tmp_path / "config.toml", layers.to_toml(config))
    assert resolved(layers.compose([file])) == config.model_dump()


def test_the_resolved_recipe_is_the_published_one() -> None:
    config = ExperimentConfig.model_validate({})
    train = assembly.assemble(config).config.train
    assert (train.lr, train.warmup_epochs) == (6.25e-4, 5)
    assert (train.weight_decay, train.min_lr, train.warmup_lr, train.epochs) == (1e-4, 1e-5, 1e-6, 100)
    short = assembly.assemble(ExperimentConfig.model_validate({"train": {"epochs": 8, "batch_size": 64}}))
    assert (short.config.train.lr, short.config.train.warmup_epochs) == (3.125e-4, 2)


def test_a_name_of_a_megabyte_is_not_read(tmp_path: Path) -> None:
    file = write(tmp_path / "run.toml", f'[dataset]\nname = "hub"\nclasses = ["a", "{"n" * 2**20}"]\n')
    with pytest.raises(UserError, match=r"run.toml: not valid TOML: a text has 1,048,576 characters"):
        layers.compose([file])

"""Configurations from layers: order, ``extends``, ``--set``, losses, messages, and the way back to TOML."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.layers import as_config
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model import assembly
from scmrl_plugins.registry import KINDS, UserError, catalogue


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


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
    }
    defaults = catalogue().get("dataset", "av-digits").load().defaults
    assert config.model.image_size == defaults["model"]["image_size"]
    assert config.train.seed == 42


def test_later_layers_win(tmp_path: Path) -> None:
    first = write(tmp_path / "a.toml", "[train]\nseed = 1\nbatch_size = 1\nepochs = 1\nworkers = 1\n")
    second = write(tmp_path / "b.toml", "[train]\nseed = 2\nbatch_size = 2\nepochs = 2\n")
    config = layers.compose(
        [first, second],
        options={"train": {"seed": 3, "batch_size": 3}},
        sets=["train.seed=4", "train.seed=5"],
        layers=[Layer("below", {"train": {"workers": 9, "keep_checkpoints": 9}})],
    )
    train = config.train
    assert (train.seed, train.batch_size, train.epochs, train.workers) == (5, 3, 2, 1)
    assert train.keep_checkpoints == 9


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


def test_another_name_drops_the_options_of_the_component_it_replaces(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", '[fusion]\nname = "cmrl"\nalpha = 0.5\n[neuron]\ntau = 3.0\n')
    swapped = layers.compose([file], options={"fusion": {"name": "late"}})
    assert swapped.fusion.model_dump() == {"name": "late"}
    assert swapped.neuron.options == {"tau": 3.0}
    kept = layers.compose([file], options={"fusion": {"name": "cmrl"}}, sets=["fusion.align=false"])
    assert kept.fusion.options == {"alpha": 0.5, "align": False}
    again = layers.compose([file], options={"fusion": {"name": "late"}}, sets=["fusion.name=cmrl"])
    assert again.fusion.options == {}


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
        (b"\xff\xfe", "cannot be read as a configuration"),
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
    with pytest.raises(UserError, match="cannot be read as a configuration"):
        layers.compose([tmp_path])


# --set ------------------------------------------------------------------------------------------------


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


# Losses -----------------------------------------------------------------------------------------------

LOSSES = '[[loss]]\nname = "ce"\nlabel_smoothing = 0.2\n[[loss]]\nname = "sao"\ntemperature = 0.5\nweight = 2.0\n'


def losses(config: ExperimentConfig) -> list[dict[str, Any]]:
    return [section.model_dump() for section in config.loss]


def test_options_of_a_loss_by_name_or_place(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", LOSSES)
    config = layers.compose([file], sets=["loss.sao.temperature=0.08", "loss.0.weight=3.0"])
    assert losses(config) == [
        {"name": "ce", "weight": 3.0, "label_smoothing": 0.2},
        {"name": "sao", "weight": 2.0, "temperature": 0.08},
    ]


def test_an_option_of_a_loss_that_is_not_listed_is_refused() -> None:
    """Adding it would drop the fusion's own losses without a word."""
    with pytest.raises(UserError, match=r"loss\.sao: no losses are listed; list them first, like --loss"):
        layers.compose(sets=["loss.sao.weight=0.5"])
    with pytest.raises(UserError, match=r"loss\.sao: the losses listed are ce"):
        layers.compose(options={"loss": [{"name": "ce"}]}, sets=["loss.sao.weight=0.5"])


def test_naming_losses_anew_keeps_the_options_of_those_there(tmp_path: Path) -> None:
    file = write(tmp_path / "a.toml", LOSSES)
    config = layers.compose([file], options={"loss": [{"name": "sao"}]})
    assert losses(config) == [{"name": "sao", "weight": 2.0, "temperature": 0.5}]
    config = layers.compose([file], options={"loss": [{"name": "sao", "weight": 1.0}]})
    assert losses(config) == [{"name": "sao", "weight": 1.0}]


def test_editing_leaves_the_layers_as_they_were() -> None:
    data = {"loss": [{"name": "ce"}], "fusion": {"name": "late"}, "train": {"seed": 1}}
    layers.compose(layers=[Layer("a", data)], sets=["loss.ce.weight=3.0", "train.seed=2", "fusion.name=cmrl"])
    assert data == {"loss": [{"name": "ce"}], "fusion": {"name": "late"}, "train": {"seed": 1}}


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["loss.7.weight=1.0"], r"loss\.7: no losses are listed"),
        (["loss.ce=3"], r"loss\.ce: write loss\.NAME\.OPTION=VALUE"),
        (["loss=3"], "loss: "),
        (['loss=[{name="ce"}]', "loss.cee.weight=1.0"], "did you mean 'ce'"),
        (['loss=[{name="ce"}]', "loss.ce.weight=nan"], r"loss\.0\.weight"),
        (["loss." + "a." * 5000 + "b=1"], "loss"),
    ],
)
def test_losses_that_make_no_sense(sets: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        assembly.assemble(layers.compose(sets=sets))


# Messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[train]\nepoch = 3\n", r"train\.epoch: unknown key \(did you mean 'epochs'"),
        ("[fusion]\nalpa = 3.0\n", r"fusion\.alpa: unknown key \(did you mean 'alpha'\?\)"),
        ("[fusoin]\nname = 'late'\n", r"fusoin: unknown key \(did you mean 'fusion'"),
        ("[fusion]\nname = 'cmlr'\n", r"unknown fusion 'cmlr' \(did you mean 'cmrl'"),
        ("[train]\nepochs = '3'\n", r"train\.epochs: input should be a valid integer, got '3'"),
        ("[train]\nepochs = 0\n", r"train\.epochs: .*greater than or equal to 1, got 0"),
        ("[fusion]\nalpha = 'big'\n", r"fusion\.alpha: input should be a valid number, got 'big'"),
        ("[model]\nsteps = 4.5\n", r"model\.steps: .*integer"),
        ("fusion = 'late'\n", r"fusion: must be a section"),
        ("[fusion]\nname = 3\n", r"fusion\.name: .*string, got 3"),
        ("[dataset]\nname = 'mnist'\n", "unknown dataset 'mnist'"),
        ("[[loss]]\nweight = 1.0\n", r"loss\.0\.name: is missing"),
        ('"loss[0]" = 1\n', r"loss\[0\]: unknown key \(did you mean 'loss'"),
        ('[train]\n"epochs[0]" = 1\n', r"train\.epochs\[0\]: unknown key \(did you mean 'epochs'"),
        ("[neuron]\nalpha = 1e300\n", r"neuron\.alpha: "),
        ("[neuron]\nname = 'LIFNode'\nalpha = 1e300\n", r"neuron\.alpha: "),
        ("[train]\nlr = inf\n", r"train\.lr: .*finite"),
    ],
)
def test_one_line_with_key_fault_and_file(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path / "mine.toml", text)
    with pytest.raises(UserError, match=says) as caught:
        assembly.assemble(layers.compose([file]))
    assert "\n" not in str(caught.value)
    if "dataset" not in text:
        assert f"(in {file})" in str(caught.value)


def test_the_source_is_that_of_the_layer_which_won(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.toml", "[train]\nepochs = 'x'\n")
    with pytest.raises(UserError, match=r"\(in --set train\.epochs=y\)"):
        layers.compose([file], sets=["train.epochs=y"])
    with pytest.raises(UserError, match=r"\(in the options\)"):
        layers.compose([file], options={"train": {"epochs": "z"}})
    config = layers.compose([file], sets=["train.epochs=3"])
    assert config.source("train.epochs") == " (in --set train.epochs=3)"
    assert config.source("train.seed") == " (in --set train.epochs=3)"
    assert config.source("encoder.name") == ""


# Python's ways in -------------------------------------------------------------------------------------


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


# And back ---------------------------------------------------------------------------------------------

# What only files could tell otherwise.
SETTLED = {
    "av-folder": {"classes": ["cat", "dog"]},
    "hub": {
        "path": "some/where",
        "classes": ["cat", "dog"],
        "audio_column": "sound",
        "visual_column": "image",
        "label_column": "label",
    },
}
COMPONENT_NAMES = [(kind, name) for kind in KINDS for name in catalogue().names(kind)]


@pytest.mark.parametrize(("kind", "name"), COMPONENT_NAMES)
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


# Anything at all --------------------------------------------------------------------------------------

SCALARS = (
    st.integers(-3, 32)
    | st.floats(width=64)
    | st.booleans()
    | st.text(max_size=6)
    | st.sampled_from(["late", "cmrl", "visual", "ce", "sao", "concat", "LIFNode", "PLIFNode", "shallow"])
    | st.sampled_from(["rate", "phase", "ttfs", "spatial", "temporal", "atan", "relu", "published", "blobs"])
    | st.dates()
    | st.datetimes()
    | st.times()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def known_keys() -> dict[str, list[str]]:
    """The keys that anything in a section may have, by section."""
    keys = {
        name: sorted(ExperimentConfig.model_fields[name].annotation.model_fields) for name in ("model", "train")
    }
    for kind in KINDS:
        configs = [catalogue().get(kind, name).load().Config for name in catalogue().names(kind)]
        keys[kind] = sorted({"name", "weight"}.union(*(config.model_fields for config in configs)))
    return keys


KEYS = known_keys()
NAMES = {kind: catalogue().names(kind) for kind in KINDS}


def one_line(error: UserError) -> None:
    assert str(error).strip()
    assert "\n" not in str(error)


def sections(kind: str) -> st.SearchStrategy[Any]:
    values: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(KEYS[kind], VALUES)
    if kind in NAMES:
        values["name"] = st.sampled_from(NAMES[kind]) | SCALARS
    if kind == "model":
        values = {key: st.sampled_from([1, 2, 4, 8, 16]) | VALUES for key in KEYS[kind]}
    if kind == "neuron":
        options = st.sampled_from(["dt", "v_reset", "act_fun", "log_alpha", "step", "n_groups", "a", "zz"])
        values["options"] = st.dictionaries(options, SCALARS, max_size=2) | VALUES
    section = st.fixed_dictionaries({}, optional=values)
    if kind == "loss":
        return (
            st.lists(section, max_size=3)
            | st.dictionaries(st.sampled_from(["ce", "sao", "0", "1", "zz"]), section, max_size=2)
            | VALUES
        )
    unknown = st.dictionaries(st.text(max_size=5), VALUES, max_size=1)
    return st.builds(lambda a, b: {**b, **a}, section, unknown) | section | VALUES


LAYERS = st.lists(
    st.builds(
        lambda known, unknown: {**unknown, **known},
        st.fixed_dictionaries({}, optional={name: sections(name) for name in KEYS}),
        st.dictionaries(st.text(max_size=5), VALUES, max_size=1),
    )
    | st.fixed_dictionaries({}, optional={name: sections(name) for name in ("neuron", "fusion", "model")}),
    min_size=1,
    max_size=2,
)
TINY = {"model": {"steps": 2, "embed_dims": 8, "num_heads": 2, "image_size": 8}}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=LAYERS)
def test_any_configuration_works_or_says_why(data: list[dict[str, Any]]) -> None:
    try:
        config = layers.compose(layers=[Layer("tiny", TINY), *(Layer("drawn", each) for each in data)])
        parts = assembly.assemble(config)
    except UserError as error:
        one_line(error)
    else:
        assert layers.to_toml(parts.config)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(sorted(NAMES)), data=st.data())
def test_any_options_of_a_component_work_or_say_why(kind: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES[kind]))
    fields = sorted(catalogue().get(kind, name).load().Config.model_fields)
    chosen = data.draw(st.lists(st.sampled_from(fields), max_size=2, unique=True)) if fields else []
    section = {"name": name} | {field: data.draw(SCALARS, label=field) for field in chosen}
    stack = [Layer("tiny", TINY), Layer("drawn", {kind: [section] if kind == "loss" else section})]
    try:
        assembly.assemble(layers.compose(layers=stack))
    except UserError as error:
        one_line(error)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12), st.text(max_size=12))
def test_any_set_works_or_says_why(key: str, value: str) -> None:
    for text in (f"{key}={value}", f"train.{key}={value}", f"neuron.{key}.{value}=1", f"train.lr={value}"):
        try:
            layers.compose(sets=[text])
        except UserError as error:
            one_line(error)

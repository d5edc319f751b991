"""Any configuration at all works, or is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.merging import Layer
from scmrl_plugins.core.config.sections import ExperimentConfig
from scmrl_plugins.core.model import assembly
from scmrl_plugins.registry import KINDS, UserError, catalogue

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


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=LAYERS)
def test_any_configuration_works_or_says_why(data: list[dict[str, Any]]) -> None:
    try:
        config = layers.compose(layers=[Layer("tiny", TINY), *(Layer("drawn", each) for each in data)])
        parts = assembly.assemble(config)
    except UserError as error:
        one_line(error)
    else:
        assert layers.to_toml(parts.config)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
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


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=12), st.text(max_size=12))
def test_any_set_works_or_says_why(key: str, value: str) -> None:
    for text in (f"{key}={value}", f"train.{key}={value}", f"neuron.{key}.{value}=1", f"train.lr={value}"):
        try:
            layers.compose(sets=[text])
        except UserError as error:
            one_line(error)

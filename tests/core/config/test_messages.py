"""Mistakes in a configuration are one line: the key, the problem, and where it was set."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_files import write

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.model import assembly
from scmrl_plugins.registry import UserError


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
        ("[train]\nlr = 1e300\n", r"train\.lr: .*less than or equal"),
        ("[train]\naccumulate = 99999999999999999999999\n", r"train\.accumulate: .*less than or equal"),
        ("[train]\npatience = 99999999999999999999999\n", r"train\.patience: .*64 bits"),
        (f"[train]\nepochs = 0x{'f' * 5000}\n", r"train\.epochs: a number of 6,000 digits is too large"),
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


@pytest.mark.parametrize("key", ["train.epochs", "neuron.tau"])
def test_a_long_number_is_named_by_its_length_in_a_short_line(key: str) -> None:
    with pytest.raises(UserError, match=rf"^{key}: a number of 5,000 digits is too large") as caught:
        assembly.assemble(layers.compose(sets=[f"{key}={'9' * 5000}"]))
    assert len(str(caught.value)) < 400


def test_a_long_number_in_a_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.toml", f"[train]\nepochs = {'9' * 5000}\n")
    with pytest.raises(UserError, match=r"mine\.toml: not valid TOML: a number has more than 4,300 digits"):
        layers.compose([file])


def test_a_name_that_is_not_utf8_is_refused_as_no_file_could_hold_it() -> None:
    with pytest.raises(UserError, match=r"^dataset.root: a name that is not UTF-8; rename .* \(in the options\)$"):
        layers.compose(options={"dataset": {"name": "av-folder", "root": "caf\udce9"}})
    with pytest.raises(UserError, match=r"^dataset.classes.1: a name that is not UTF-8"):
        layers.compose(options={"dataset": {"name": "av-folder", "classes": ["a", "caf\udce9"]}})

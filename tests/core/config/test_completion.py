"""Runs of earlier versions: settings that came later have the value that they had before they existed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from blob_data import Blobs
from paths import ROOT
from pydantic import Field
from text_files import write

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.config.completion import is_complete
from scmrl_plugins.core.interfaces import ComponentConfig
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.run.directory import Run
from scmrl_plugins.registry import UserError

EARLIER = sorted((ROOT / "tests" / "golden" / "configs").glob("*.toml"))
"""Configurations of runs, as version 0.1.0 wrote them."""


class Later(ComponentConfig):
    """The settings of ``blobs`` in a later version, where ``side``, ``rate`` and ``noise`` are new."""

    seed: int = Field(0, ge=0)
    spread: float = Field(0.3, ge=0)
    side: int | None = Field(7, json_schema_extra={"before": 3})
    rate: int | None = Field(None, json_schema_extra={"before": 8000})
    noise: dict[str, float] = Field(default_factory=dict)


@pytest.fixture
def earlier(small: Any, tmp_path: Path) -> Run:
    """A run with ``blobs`` as they are today."""
    path = tmp_path / "run"
    write(path / "config.toml", layers.to_toml(small().config))
    return Run(path)


@pytest.fixture
def later(earlier: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the run, ``blobs`` got more settings and recommends others."""
    monkeypatch.setattr(Blobs, "Config", Later)
    monkeypatch.setattr(Blobs, "defaults", {"model": {"steps": 5}, "neuron": {"tau": 9.0}, "train": {"ema": 0.5}})


def options(config: Any) -> dict[str, Any]:
    return dict(assembly.build_dataset(config)[1].dataset.options)


@pytest.mark.usefixtures("later")
def test_a_run_keeps_what_it_was_made_with(earlier: Run, tmp_path: Path) -> None:
    """Opened as a run, read as a file, and copied or extended elsewhere."""
    copied = write(tmp_path / "copied.toml", earlier.config_file.read_text())
    extending = write(tmp_path / "extending.toml", 'extends = ["copied.toml"]\n')
    for config in (
        earlier.config(),
        *(layers.compose([file]) for file in (earlier.config_file, copied, extending)),
    ):
        assert options(config) == {"seed": 0, "spread": 0.3, "side": 3, "rate": 8000, "noise": {}}
        assert (config.model.steps, config.neuron.options["tau"], config.train.ema) == (2, 2.0, None)


@pytest.mark.usefixtures("later")
def test_settings_on_top_of_a_run_win(earlier: Run) -> None:
    config = layers.compose([earlier.config_file], sets=["dataset.side=5", "train.ema=0.25"])
    assert (options(config)["side"], options(config)["rate"], config.train.ema) == (5, 8000, 0.25)


@pytest.mark.usefixtures("later")
def test_a_users_file_gets_todays_defaults(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.toml", '[dataset]\nname = "blobs"\n[train]\nseed = 3\n')
    config = layers.compose([file])
    assert options(config) == {"seed": 0, "spread": 0.3, "side": 7, "rate": None, "noise": {}}
    assert (config.model.steps, config.neuron.options, config.train.ema) == (5, {"tau": 9.0}, 0.5)


@pytest.mark.usefixtures("later")
def test_none_today_is_not_a_setting_that_is_lacking(small: Any, tmp_path: Path) -> None:
    """``rate`` of a new run is none, not the value that it had before it existed."""
    parts = small(dataset={"side": None}, train={"ema": None})
    write(tmp_path / "new" / "config.toml", layers.to_toml(parts.config))
    config = Run(tmp_path / "new").config()
    assert options(config) == parts.config.dataset.options
    assert options(config)["rate"] is options(config)["side"] is config.train.ema is None


def test_none_inside_of_sections_that_repeat_survives(tmp_path: Path) -> None:
    config = layers.compose(sets=['loss=[{name="ce"}, {name="sao"}]', "neuron.options={a=1}"])
    data = config.model_copy(
        update={
            "loss": [config.loss[0], config.loss[1].model_copy(update={"weight": 0.5, "temperature": None})],
            "neuron": config.neuron.model_copy(update={"options": {"a": 1, "reset": None}}),
        }
    )
    again = layers.compose([write(tmp_path / "config.toml", layers.to_toml(data))])
    assert again.loss[1].options == {"temperature": None}
    assert again.neuron.options["options"] == {"a": 1, "reset": None}


@pytest.mark.parametrize(
    "text", ['unset = "train.ema"', "unset = [3]", 'unset = ["train.seed"]\n[train]\nseed = 1']
)
def test_unset_is_a_list_of_keys_without_a_value(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.toml: unset must be a list of keys"):
        layers.compose([write(tmp_path / "config.toml", text)])


@pytest.mark.parametrize("file", EARLIER, ids=lambda file: file.stem)
def test_runs_of_earlier_versions_are_read_as_they_were(file: Path, tmp_path: Path) -> None:
    """Every key has its value, and the file is recognised as a run's, also where it was copied to."""
    saved = layers.from_toml(file.read_text(encoding="utf-8"))
    assert is_complete(saved), 'a new field of TrainConfig, DataConfig or ModelConfig has no value "before"'
    write(tmp_path / "config.toml", file.read_text(encoding="utf-8"))
    config = assembly.assemble(Run(tmp_path).config()).config
    assert layers.compose([file]).model_dump() == Run(tmp_path).config().model_dump()
    resolved = layers.from_toml(layers.to_toml(config))
    for kind, section in saved.items():
        if isinstance(section, list):
            pairs = [(old, new) for old, new in zip(section, resolved[kind], strict=True)]
        else:
            pairs = [(section, resolved[kind])]
        assert all(old.items() <= new.items() for old, new in pairs), kind

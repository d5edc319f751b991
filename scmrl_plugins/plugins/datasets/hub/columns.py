"""The purpose of the splits and columns of a Hugging Face data set, and the classes of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.core.system.private import infer_features
from scmrl_plugins.plugins.datasets.hub.config import HubConfig
from scmrl_plugins.plugins.datasets.hub.source import NAMES, Source
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

if TYPE_CHECKING:
    import datasets

    from scmrl_plugins.plugins.datasets.hub.source import Rows

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "audio": ("audio", "sound", "speech", "wav", "recording"),
    "visual": ("visual", "image", "picture", "img", "frame", "video"),
    "video": ("video", "clip", "movie"),
    "label": ("label", "labels", "class", "category", "target"),
}
"""Usual names of columns, for where the types do not identify them."""
_TYPES = {"audio": {"Audio"}, "visual": {"Image", "Video"}, "video": {"Video"}, "label": {"ClassLabel"}}
_FILES = frozenset({"string", "large_string", "binary", "large_binary"})


@dataclass(frozen=True)
class Opened:
    """A data set's rows by purpose: ``train``, and ``validation`` and ``test`` where it has such splits.

    ``names``: its own names of these splits. ``columns``: its own names of ``audio``, ``visual``, ``label`` and,
    where one is named, ``group``.
    """

    source: Source
    rows: Mapping[str, Rows]
    names: Mapping[str, str]
    columns: Mapping[str, str]
    features: datasets.Features

    @classmethod
    def of(cls, source: Source, config: HubConfig) -> Opened:
        """The source, opened with a configuration; ``UserError`` for missing splits and columns."""
        splits = source.open()
        names = _split_names(source, config, splits)
        rows = {purpose: splits[name] for purpose, name in names.items()}
        features = _features(rows["train"])
        columns = {
            purpose: _named(source, features, name, purpose, config.setting(purpose))
            for purpose, name in config.columns.items()
            if name
        }
        if not columns.keys() & {*MODALITIES} and (video := _video(features, columns)):
            columns |= dict.fromkeys(MODALITIES, video)
        for purpose in config.columns:
            if purpose not in columns:
                columns[purpose] = _guessed(source, features, purpose, columns)
        if config.group_column:
            columns["group"] = _named(source, features, config.group_column, "group", "group_column")
        for name in config.group_columns:
            _named(source, features, name, "group", "group_columns")
        return cls(source, rows, names, columns, features)

    def settings(self) -> dict[str, str]:
        """The settings that name the columns."""
        named = dict(self.columns)
        if named["audio"] == named["visual"]:
            named |= {"video": named.pop("audio")}
            del named["visual"]
        return {f"{purpose}_column": name for purpose, name in named.items()}

    def values(self, purpose: str, column: str) -> list[Any]:
        """A column of one split, in memory."""
        name = self.columns[column]
        return self.rows[purpose].select_columns([name])[:][name]

    def group(self, column: str, value: Any) -> tuple[str, str | None]:
        """The name of the group in a cell, empty if it has none; and what is wrong with the cell or none."""
        name = label_name(value, self.features[column])
        if name is None or not name.strip():
            return "", f"its cell of column {column!r} is empty; fill it or leave the row out"
        return name, None

    def groups(self, purpose: str, column: str) -> list[tuple[str, str | None]]:
        """``group`` of every cell in a column of one split."""
        return [self.group(column, value) for value in self.rows[purpose].select_columns([column])[:][column]]

    def classes(self) -> tuple[str, ...]:
        """The names of the classes: those in the type of the labels, else every label in the rows, sorted."""
        column = self.columns["label"]
        feature = self.features[column]
        if names := class_names(feature):
            return names
        if self.source.streaming:
            raise UserError(
                f"{self.source}: the labels of column {column!r} of a stream are unknown; set dataset.classes to "
                f"their names"
            )
        values = (value for rows in self.rows.values() for value in rows.unique(column))
        labels = {name for value in values if (name := label_name(value, feature)) is not None}
        if len(labels) < 2:
            raise UserError(
                f"{self.source}: column {column!r} holds {len(labels)} classes, but at least two are required; "
                f"set dataset.label_column or dataset.classes"
            )
        return tuple(sorted(labels, key=int if all(label.isdecimal() for label in labels) else None))


def class_names(feature: Any) -> tuple[str, ...]:
    """The names of the classes in the type of the labels; none for other types than ``ClassLabel``."""
    import datasets

    return tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else ()


def label_name(value: Any, feature: Any) -> str | None:
    """The name of a label's class; none for a row without a label, which data sets of the hub mark by -1."""
    if value is None or value != value:  # a missing number is NaN in tables that pandas wrote
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        if value < 0:
            return None
        names = class_names(feature)
        if not float(value).is_integer():
            return str(value)
        return names[int(value)] if value < len(names) else str(int(value))
    return str(value)


class Labels:
    """``(value) -> (index of its class or -1, what is wrong with the label or none)``.

    A plain number is the index itself where the classes are words.
    """

    def __init__(self, feature: Any, classes: Sequence[str]) -> None:
        self._feature, self._classes = feature, tuple(classes)
        self._indices = {name: index for index, name in enumerate(classes)}
        if not class_names(feature) and not all(name.isdecimal() for name in classes):
            self._indices = {str(index): index for index in range(len(classes))} | self._indices

    def __call__(self, value: Any) -> tuple[int, str | None]:
        name = label_name(value, self._feature)
        if name is None and (value is None or value != value):
            return -1, "its label is missing; give it one or leave the row out"
        if name is None:
            return -1, f"its label is {value}, which means none; give it one or leave the row out"
        if name in self._indices:
            return self._indices[name], None
        return (
            -1,
            f"its label {name!r} is not a class{near(name, self._classes)}; correct it, or add it to "
            f"dataset.classes",
        )


def _split_names(source: Source, config: HubConfig, splits: Mapping[str, Rows]) -> dict[str, str]:
    """The data set's own name of the split for each purpose, where it has one."""
    there = f"there are {', '.join(splits)}" if splits else "there are none"
    given = config.split_names
    names: dict[str, str] = {}
    for purpose, name in given.items():
        if name and name not in splits:
            raise UserError(
                f"{source}: no split {name!r}{near(name, splits)}; {there}: correct dataset.{purpose}_split"
            )
        free = (usual for usual in NAMES[purpose] if usual in splits and usual not in given.values())
        if name := name or next(free, None):
            names[purpose] = name
    if "train" not in names:
        raise UserError(f"{source}: no split train; {there}: set dataset.train_split to one of them")
    if "test" not in names and config.test is None:
        raise UserError(
            f"{source}: no split test; {there}: set dataset.test_split to one of them, or dataset.test to the "
            f"share of the training rows to keep for a test, such as 0.2"
        )
    if "test" in names and config.test is not None:
        raise UserError(f"{source}: {names['test']!r} is the test split already; remove dataset.test")
    return names


def _features(rows: Rows) -> Any:
    """The types of the columns; of a stream without declared types, those of its first rows."""
    return rows.features or infer_features(rows) or {}


def _named(source: Source, features: Mapping[str, Any], name: str, purpose: str, setting: str) -> str:
    """The column that the configuration names; ``UserError`` if it is missing or of an unusable type."""
    if name not in features:
        raise UserError(
            f"{source}: no column {name!r}{near(name, features)}; there are {', '.join(features)}: correct "
            f"dataset.{setting}"
        )
    if not _serves(features[name], purpose):
        holds = {"label": "labels as numbers or words", "group": "numbers or words"}.get(purpose, "files or paths")
        raise UserError(
            f"{source}: column {name!r} is of type {_type_name(features[name])}, and {holds} are required; "
            f"correct dataset.{setting}"
        )
    return name


def _guessed(source: Source, features: Mapping[str, Any], purpose: str, taken: Mapping[str, str]) -> str:
    """The only column of the purpose's type, else the only usable one with a usual name."""
    found = _candidates(features, purpose, taken)
    if len(found) == 1:
        return found[0]
    what = {"audio": "the sounds", "visual": "the pictures or videos", "label": "the labels"}[purpose]
    other = ", or dataset.video_column if videos have their own" if purpose == "audio" else ""
    raise UserError(
        f"{source}: which column holds {what}? There are {', '.join(features)}: set "
        f"dataset.{purpose}_column{other}"
    )


def _video(features: Mapping[str, Any], taken: Mapping[str, str]) -> str | None:
    """The column of videos with their own sound: the only one of videos, where there is none of sounds."""
    found = [] if _candidates(features, "audio", taken) else _candidates(features, "video", taken)
    return found[0] if len(found) == 1 else None


def _candidates(features: Mapping[str, Any], purpose: str, taken: Mapping[str, str]) -> list[str]:
    """The columns of the purpose's type, of several only those with a usual name; without any, such names."""
    free = [name for name in features if name not in taken.values() and _serves(features[name], purpose)]
    typed = [name for name in free if type(features[name]).__name__ in _TYPES[purpose]]
    usual = [name for name in typed or free if name.lower() in COLUMNS[purpose]]
    return usual if usual and len(typed) != 1 else typed


def _serves(feature: Any, purpose: str) -> bool:
    """Whether a column of this type can hold files, labels or groups."""
    import datasets

    dtype = feature.dtype if isinstance(feature, datasets.Value) else ""
    if purpose in ("label", "group"):
        numbers_or_words = ("int", "uint", "float", "bool", "string", "large_string")
        return isinstance(feature, datasets.ClassLabel) or dtype.startswith(numbers_or_words)
    if isinstance(feature, dict):
        samples = purpose == "audio" and {"array", "sampling_rate"} <= feature.keys()
        return samples or "bytes" in feature or "path" in feature
    kinds = _TYPES["video"] if purpose == "video" else _TYPES["audio"] | _TYPES["visual"]
    return type(feature).__name__ in kinds or dtype in _FILES


def _type_name(feature: Any) -> str:
    import datasets

    return feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__

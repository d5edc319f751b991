"""What the splits and columns of a Hugging Face data set are for, and which class a label is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scmrl_plugins.core.system.private import infer_features
from scmrl_plugins.plugins.datasets.hub.source import NAMES, Source
from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near

if TYPE_CHECKING:
    import datasets

    from scmrl_plugins.plugins.datasets.hub.source import Rows

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "audio": ("audio", "sound", "speech", "wav", "recording"),
    "visual": ("visual", "image", "picture", "img", "frame", "video"),
    "label": ("label", "labels", "class", "category", "target"),
}
"""What columns are called, for where their types do not tell which is which."""
_TYPES = {"audio": {"Audio"}, "visual": {"Image", "Video"}, "label": {"ClassLabel"}}
_FILES = frozenset({"string", "large_string", "binary", "large_binary"})


@dataclass(frozen=True)
class Opened:
    """A data set's rows as it has them, by what they are for: ``train``, and the others where there are such.

    ``names``: what the data set calls these splits. ``columns``: what it calls ``audio``, ``visual``, ``label``
    and, where one is named, ``group``.
    """

    source: Source
    rows: Mapping[str, Rows]
    names: Mapping[str, str]
    columns: Mapping[str, str]
    features: datasets.Features

    @classmethod
    def of(cls, source: Source, config: Any) -> Opened:
        """The source, opened as a configuration of ``hub`` says; ``UserError`` for what is not there."""
        found = source.open()
        names = _splits(source, config, found)
        rows = {purpose: found[name] for purpose, name in names.items()}
        features = _features(rows["train"])
        columns: dict[str, str] = {}
        for purpose in COLUMNS:
            named = getattr(config, f"{purpose}_column")
            columns[purpose] = (
                _named(source, features, named, purpose) if named else _found(source, features, purpose, columns)
            )
        if config.group_column:
            columns["group"] = _named(source, features, config.group_column, "group")
        return cls(source, rows, names, columns, features)

    def values(self, purpose: str, column: str) -> list[Any]:
        """A column of one split, in memory."""
        name = self.columns[column]
        return self.rows[purpose].select_columns([name])[:][name]

    def classes(self) -> tuple[str, ...]:
        """The names of the classes: those that the labels' type holds, else every label there is, sorted."""
        column = self.columns["label"]
        feature = self.features[column]
        if hasattr(feature, "names"):
            return tuple(feature.names)
        if self.source.streaming:
            raise UserError(
                f"{self.source}: only the whole stream would tell what labels there are in column {column!r}; set "
                f"dataset.classes to their names"
            )
        values = (value for rows in self.rows.values() for value in rows.unique(column))
        names = {name for value in values if (name := label_name(value, feature)) is not None}
        if len(names) < 2:
            raise UserError(
                f"{self.source}: column {column!r} holds {len(names)} classes, and two are the least; set "
                f"dataset.label_column or dataset.classes"
            )
        return tuple(sorted(names, key=int if all(name.isdecimal() for name in names) else None))


def label_name(value: Any, feature: Any) -> str | None:
    """What a label's class is called; none where the row has no label, as -1 says in data sets of the hub."""
    if value is None or value != value:  # a missing number is NaN in tables that pandas wrote
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        if value < 0:
            return None
        names: Sequence[str] = getattr(feature, "names", ())
        if not float(value).is_integer():
            return str(value)
        return names[int(value)] if value < len(names) else str(int(value))
    return str(value)


class Labels:
    """``(value) -> (place among the classes or -1, what is wrong with the label or none)``.

    A plain number is the place itself where the classes are words.
    """

    def __init__(self, feature: Any, classes: Sequence[str]) -> None:
        self._feature, self._classes = feature, tuple(classes)
        self._places = {name: place for place, name in enumerate(classes)}
        if not hasattr(feature, "names") and not all(name.isdecimal() for name in classes):
            self._places |= {str(place): place for place in range(len(classes)) if str(place) not in self._places}

    def __call__(self, value: Any) -> tuple[int, str | None]:
        name = label_name(value, self._feature)
        if name is None:
            return -1, f"its label is {value}, so none; give it one or leave the row out"
        if name in self._places:
            return self._places[name], None
        return (
            -1,
            f"its label {name!r} is no class{near(name, self._classes)}; correct it or add it to dataset.classes",
        )


def _splits(source: Source, config: Any, found: Mapping[str, Rows]) -> dict[str, str]:
    """What the split for each purpose is called, where there is one."""
    there = f"there are {', '.join(found)}" if found else "there are none"
    given = {purpose: getattr(config, f"{purpose}_split") for purpose in NAMES}
    names: dict[str, str] = {}
    for purpose, name in given.items():
        if name and name not in found:
            raise UserError(
                f"{source}: no split {name!r}{near(name, found)}; {there}: correct dataset.{purpose}_split"
            )
        free = (usual for usual in NAMES[purpose] if usual in found and usual not in given.values())
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
        raise UserError(
            f"{source}: {names['test']!r} is a test split, and dataset.test would make another; leave it out"
        )
    return names


def _features(rows: Rows) -> Any:
    """The columns' types; of a stream whose reader does not say, those of its first rows."""
    return rows.features or infer_features(rows) or {}


def _named(source: Source, features: Mapping[str, Any], name: str, purpose: str) -> str:
    """A column that the configuration names, if it is of a type that serves."""
    if name not in features:
        raise UserError(
            f"{source}: no column {name!r}{near(name, features)}; there are {', '.join(features)}: correct "
            f"dataset.{purpose}_column"
        )
    if not _serves(features[name], purpose):
        holds = {"label": "labels as numbers or words", "group": "numbers or words"}.get(purpose, "files or paths")
        raise UserError(
            f"{source}: column {name!r} is of type {_told(features[name])}, and {holds} are asked for; correct "
            f"dataset.{purpose}_column"
        )
    return name


def _found(source: Source, features: Mapping[str, Any], purpose: str, taken: Mapping[str, str]) -> str:
    """The only column of a type of its own, else the only one with a usual name."""
    free = [name for name in features if name not in taken.values() and _serves(features[name], purpose)]
    typed = [name for name in free if type(features[name]).__name__ in _TYPES[purpose]]
    if len(typed) == 1:
        return typed[0]
    usual = [name for name in typed or free if name.lower() in COLUMNS[purpose]]
    if len(usual) == 1:
        return usual[0]
    what = {"audio": "the sounds", "visual": "the pictures or videos", "label": "the labels"}[purpose]
    raise UserError(
        f"{source}: which column holds {what}? There are {', '.join(features)}: set dataset.{purpose}_column"
    )


def _serves(feature: Any, purpose: str) -> bool:
    kind = getattr(feature, "dtype", "")
    if purpose in ("label", "group"):
        return hasattr(feature, "names") or kind.startswith(
            ("int", "uint", "float", "bool", "string", "large_string")
        )
    if isinstance(feature, dict):
        return "bytes" in feature or "path" in feature
    return type(feature).__name__ in _TYPES["audio"] | _TYPES["visual"] or kind in _FILES


def _told(feature: Any) -> str:
    return getattr(feature, "dtype", None) or type(feature).__name__

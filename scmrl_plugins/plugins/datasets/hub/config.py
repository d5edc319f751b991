"""The settings of the data set ``hub``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.plugins.datasets.bases.recordings import RecordingsConfig
from scmrl_plugins.plugins.datasets.files.groups import refuse_taken


class HubConfig(RecordingsConfig):
    """Settings of ``hub``."""

    path: str | Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        None, description="user/name on the hub, a folder, or tables (also as a glob)"
    )
    subset: str | None = Field(None, description="configuration of the data set, if it has several")
    revision: str | None = Field(None, description="branch, tag or commit on the hub; none: the main branch")
    streaming: bool = Field(False, description="read rows from a stream and store nothing but the features")
    limit: int | None = Field(
        None, ge=1, description="rows of each split, evenly spread; of a stream the first ones; none: all"
    )
    audio_column: str | None = Field(None, description="column of sounds; none: identified by type, then by name")
    visual_column: str | None = Field(
        None, description="column of pictures or videos; none: identified by type, then by name"
    )
    video_column: str | None = Field(
        None,
        description="column of videos with their own sound, in the place of audio_column and visual_column; none: "
        "identified by type, then by name, if no column of sounds is",
    )
    label_column: str | None = Field(None, description="column of labels; none: identified by type, then by name")
    group_column: str | None = Field(
        None, description="as group_columns, but only where a split is taken from the training rows"
    )
    group_columns: tuple[str, ...] = Field(
        (),
        strict=False,
        description="columns that name groups, such as speakers: no group may be in two splits. Of a stream, only "
        "splits that are taken from the training rows are kept apart",
    )
    train_split: str | None = Field(None, description="name of the training split; none: train or training")
    validation_split: str | None = Field(
        None, description="name of the validation split; none: validation, valid, val or dev"
    )
    test_split: str | None = Field(None, description="name of the test split; none: test or testing")
    validation: float = Field(
        0.1, gt=0, lt=1, description="share of the training rows for a missing validation split"
    )
    test: float | None = Field(None, gt=0, lt=1, description="share of the training rows for a missing test split")
    classes: tuple[str, ...] = Field((), strict=False, description="names of the classes; empty: as in the data")

    @field_validator("path")
    @classmethod
    def _path_is_not_empty(cls, path: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if path is not None and (not path or "" in (path if isinstance(path, tuple) else (path,))):
            raise ValueError("is empty: set an id of the hub, a folder or a table")
        return path

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if names and (len({*names}) < len(names) or len(names) < 2):
            raise ValueError("expected two or more different classes")
        return names

    @field_validator("group_columns")
    @classmethod
    def _groups_are_columns_of_their_own(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return refuse_taken(names)

    @model_validator(mode="after")
    def _groups_are_named_once(self) -> HubConfig:
        if self.group_column and self.group_columns:
            raise ValueError("group_column and group_columns are both set: use group_columns")
        return self

    @model_validator(mode="after")
    def _a_video_has_both(self) -> HubConfig:
        if self.video_column and (other := self.audio_column or self.visual_column):
            raise ValueError(
                f"video_column and {other!r} are both set: videos with their own sound need video_column alone, "
                f"others visual_column"
            )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> HubConfig:
        for kind, names in (
            ("column", (self.audio_column, self.visual_column, self.video_column, self.label_column)),
            ("split", self.split_names.values()),
        ):
            given = [name for name in names if name is not None]
            if twice := next((name for name in given if given.count(name) > 1), None):
                raise ValueError(f"{kind} {twice!r} is named for two purposes; name each once")
        return self

    @property
    def columns(self) -> dict[str, str | None]:
        """The column named for each modality and for the label."""
        return {
            "audio": self.video_column or self.audio_column,
            "visual": self.video_column or self.visual_column,
            "label": self.label_column,
        }

    def setting(self, purpose: str) -> str:
        """The setting that names a column of ``columns``."""
        return "video_column" if self.video_column and purpose in MODALITIES else f"{purpose}_column"

    @property
    def split_names(self) -> dict[str, str | None]:
        """The data set's own name of each split, where one is set."""
        return {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}

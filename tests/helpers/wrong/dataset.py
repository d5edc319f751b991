"""A right data set, and some that are wrong in one way each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import ConfigDict

from scmrl_plugins.core.interfaces import MODALITIES, ComponentConfig, ModelConfig
from scmrl_plugins.registry import UserError
from wrong.register import fails

if TYPE_CHECKING:
    import datasets


class Rows:
    """Noise in memory, two samples a class and split; it has no fixture."""

    class Config(ComponentConfig):
        folder: str = "nowhere"

    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    classes: ClassVar[tuple[str, ...]] = ("one", "two", "three")
    channels: ClassVar[Mapping[str, int]] = {"audio": 1, "visual": 2}
    counts: ClassVar[Mapping[str, int]] = {"train": 6, "validation": 6, "test": 6}

    def __init__(self, config: Any, model: ModelConfig) -> None:
        self.config, self.size = config, model.image_size

    def columns(self, split: str) -> dict[str, Any]:
        rng, count = np.random.default_rng(len(split)), self.counts[split]
        shapes = {name: (count, channels, self.size, self.size) for name, channels in self.channels.items()}
        return {
            **{name: rng.normal(size=shape).tolist() for name, shape in shapes.items()},
            "label": [i % 3 for i in range(count)],
            "id": [f"{split}-{i}" for i in range(count)],
        }

    def splits(self) -> datasets.DatasetDict:
        import datasets
        from row_table import row_table

        return datasets.DatasetDict({split: row_table(self.columns(split)) for split in self.counts})

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.asarray(rows[name], dtype=np.float32) for name in MODALITIES}

    def read(self, audio: Path | None, visual: Path | None, *, convert: bool = False) -> dict[str, Any]:
        given = {"audio": audio, "visual": visual}
        return {name: None if path is None else self.read_one(path) for name, path in given.items()}

    def read_one(self, path: Path) -> Any:
        if not path.exists():
            raise UserError(f"{path}: no such file")
        return np.load(path).tolist()


class Dataset(Rows):
    """The same with a fixture: the folder holds a mark, without which there are no rows."""

    def splits(self) -> datasets.DatasetDict:
        if not (Path(self.config.folder) / "mark").exists():
            raise UserError(f"{self.config.folder}: no data there; set dataset.folder")
        return super().splits()

    @staticmethod
    def fixture(folder: Path) -> Mapping[str, Any]:
        (folder / "mark").touch()
        return {"folder": str(folder)}


# Tags and configuration


@fails(tags_are_known="unknown tag 'speech'")
class TagOfADataset(Dataset):
    tags = frozenset({"speech"})


@fails(
    configuration_round_trip="cannot be written as TOML and read again",
    saved_and_loaded="valid tuple",
    renamed_plugin_is_explained="valid tuple",
)
class TupleInAList(Dataset):
    class Config(Dataset.Config):
        sizes: tuple[int, ...] = (1, 2)


@fails(unknown_setting_is_refused="takes settings that it does not have")
class KeepsSettings(Dataset):
    class Config(Dataset.Config):
        model_config = ConfigDict(extra="allow")


# What this kind promises


@fails(building_touches_no_file="FileNotFoundError")
class OpensItsFiles(Dataset):
    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        (Path(config.folder) / "mark").read_text()


@fails(
    building_touches_no_file="has 1 classes",
    rows_are_as_declared="a label of the train split is not the index of a class",
)
class OneClass(Dataset):
    classes = ("one",)


@fails(rows_are_as_declared="the train rows lack the group column 'speaker'")
class NoGroups(Dataset):
    group_columns = ("speaker",)


@fails(rows_are_as_declared="a group in the column 'speaker' of the train split is not text")
class NumberedGroups(Dataset):
    group_columns = ("speaker",)

    def columns(self, split: str) -> dict[str, Any]:
        return {**super().columns(split), "speaker": list(range(self.counts[split]))}


@fails(building_touches_no_file="names a class twice")
class OneNameForTwo(Dataset):
    classes = ("one", "two", "two")


@fails(building_touches_no_file="channels are of ['audio', 'smell', 'visual']")
class ThirdModality(Dataset):
    channels: ClassVar = {**Dataset.channels, "smell": 1}


@fails(fixture="has no fixture(folder)")
class NoFixture(Rows):
    pass


@fails(fixture="the fixture has no test samples")
class NoTestSamples(Dataset):
    counts: ClassVar = {"train": 6, "validation": 6, "test": 0}


@fails(fixture="the fixture has no validation samples")
class NoValidationSplit(Dataset):
    counts: ClassVar = {"train": 6, "test": 6}


@fails(rows_are_as_declared="the train rows have the columns", splits_are_disjoint="id")
class RowsWithoutIds(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        return {name: column for name, column in super().columns(split).items() if name != "id"}


@fails(rows_are_as_declared="a label of the train split is not an integer")
class FloatingLabels(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "label": [float(label) for label in columns["label"]]}


@fails(rows_are_as_declared="a label of the train split is not the index of a class")
class LabelsFromOne(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "label": [1 + label for label in columns["label"]]}


@fails(rows_are_as_declared="an id comes twice in the train split")
class OneIdForTwo(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "id": [f"{split}-{label}" for label in columns["label"]]}


@fails(splits_are_disjoint="the id of a validation sample is in the train split too")
class NumberedInEachSplit(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        return {**columns, "id": [str(i) for i in range(len(columns["id"]))]}


@fails(splits_are_disjoint="the visual of a test sample is in the train split too")
class ImageInTwoSplits(Dataset):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        if split == "test":
            columns["visual"][3] = super().columns("train")["visual"][1]
        return columns


class Images(Dataset):
    """Right: its rows hold pictures, which alike start and end in black."""

    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        pictures = np.random.default_rng(len(split)).integers(0, 255, (self.counts[split], 40, 40), np.uint8)
        pictures[:, :5] = pictures[:, -5:] = pictures[:, :, :5] = pictures[:, :, -5:] = 0
        return {**columns, "visual": list(pictures)}

    def splits(self) -> datasets.DatasetDict:
        import datasets

        features = datasets.Features(
            {
                "audio": datasets.Array3D((1, self.size, self.size), "float32"),
                "visual": datasets.Image(),
                "label": datasets.Value("int64"),
                "id": datasets.Value("string"),
            }
        )
        rows = {split: self.columns(split) for split in self.counts}
        return datasets.DatasetDict(
            {split: datasets.Dataset.from_dict(columns, features=features) for split, columns in rows.items()}
        )

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        cut = [np.asarray(picture, np.float32)[None, :16, :16].repeat(2, 0) for picture in rows["visual"]]
        return {"audio": np.asarray(rows["audio"], np.float32), "visual": np.stack(cut)}


@fails(splits_are_disjoint="the visual of a validation sample is in the train split too")
class PictureInTwoSplits(Images):
    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        if split == "validation":
            columns["visual"][0] = super().columns("train")["visual"][5]
        return columns


class Arrays(Images):
    """Right: its rows hold arrays, which alike start and end in black."""

    def splits(self) -> datasets.DatasetDict:
        return super().splits().with_format("numpy", columns=["visual"], output_all_columns=True)


@fails(transform="turns a row into ['audio', 'label', 'visual']")
class TransformKeepsTheLabel(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {**super().transform(rows), "label": np.asarray(rows["label"])}


@fails(inputs="audio is float64, expected float32")
class DoublePrecision(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: array.astype(np.float64) for name, array in super().transform(rows).items()}


@fails(inputs="audio is [16, 16, 1], expected [1, 16, 16], or the same with T first")
class ChannelsLast(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.moveaxis(array, 1, -1) for name, array in super().transform(rows).items()}


@fails(inputs="audio is not finite")
class LogarithmOfNothing(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.where(array > 2, -np.inf, array) for name, array in super().transform(rows).items()}


@fails(transform="audio differs when the same rows are transformed again", pickles_to_workers="audio differs")
class RandomCrops(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        shift = np.float32(np.random.default_rng().normal())
        return {name: array + shift for name, array in super().transform(rows).items()}


@fails(transform="turns 4 rows into 3 arrays of audio", inputs="IndexError", measured_settings="IndexError")
class LeavesARowOut(Dataset):
    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: array[:3] for name, array in super().transform(rows).items()}


@fails(inputs="training differs under one seed of torch's generator")
class AugmentsWithNumpy(Dataset):
    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        shift = np.float32(np.random.default_rng().normal()) if training else np.float32(0)
        return {name: array + shift for name, array in stored.items()}


@fails(inputs="evaluation depends on the seed")
class AugmentsTheTest(Dataset):
    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        return {name: array + torch.randn(1).numpy() for name, array in stored.items()}


@fails(measured_settings="inputs differ when it is built with what it measured (folder)")
class KeepsOnlySomeOfWhatItMeasures(Dataset):
    level = 0.0

    def measure(self, samples: Iterable[Mapping[str, np.ndarray]]) -> Mapping[str, Any]:
        self.level = float(np.mean([sample["audio"].mean() for sample in samples]))
        return {"folder": self.config.folder}

    def inputs(self, stored: Mapping[str, np.ndarray], training: bool) -> dict[str, np.ndarray]:
        return {name: array - np.float32(self.level) for name, array in stored.items()}


@fails(blank="blank audio is [2, 1, 1], which does not broadcast to [1, 16, 16]")
class BlankOfOtherChannels(Dataset):
    blank: ClassVar[Mapping[str, np.ndarray]] = dict.fromkeys(MODALITIES, np.zeros((2, 1, 1), np.float32))


@fails(blank="blank audio is float64, expected float32")
class DoubleBlank(Dataset):
    blank: ClassVar[Mapping[str, np.ndarray]] = {"audio": np.zeros((1, 1, 1)), "visual": np.zeros((2, 1, 1))}


@fails(blank="blank audio is not finite")
class InfiniteBlank(Dataset):
    blank: ClassVar[Mapping[str, np.ndarray]] = {
        name: np.full((channels, 1, 1), -np.inf, np.float32) for name, channels in Rows.channels.items()
    }


@fails(blank="blank is of ['audio']")
class BlankOfOneModality(Dataset):
    blank: ClassVar[Mapping[str, np.ndarray]] = {"audio": np.zeros((1, 1, 1), np.float32)}


class Files(Dataset):
    """Its rows hold the bytes of arrays; it believes whatever they are."""

    def columns(self, split: str) -> dict[str, Any]:
        columns = super().columns(split)
        for name in MODALITIES:
            held = np.asarray(columns[name], np.float32)
            columns[name] = [{"bytes": array.tobytes(), "path": f"{split}.npy"} for array in held]
        return columns

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        shapes = {name: (-1, channels, self.size, self.size) for name, channels in self.channels.items()}
        return {
            name: np.concatenate([self.decode(cell).reshape(shapes[name]) for cell in rows[name]])
            for name in MODALITIES
        }

    def decode(self, cell: Mapping[str, Any]) -> np.ndarray:
        return np.frombuffer(cell["bytes"], np.float32)


@fails(a_bad_file_is_refused="ValueError")
class LeavesBadFilesToNumpy(Files):
    pass


@fails(a_bad_file_is_refused="accepts invalid audio")
class TakesAnything(Files):
    def decode(self, cell: Mapping[str, Any]) -> np.ndarray:
        return np.frombuffer(cell["bytes"].ljust(1024 * 4, b"\0"), np.float32)[
            : 256 * (len(cell["bytes"]) // 1024 or 1)
        ]


@fails(a_bad_file_is_refused="does not name the file")
class SaysNotWhichIsBad(Files):
    def decode(self, cell: Mapping[str, Any]) -> np.ndarray:
        if len(cell["bytes"]) % 1024:
            raise UserError("a file is bad")
        return super().decode(cell)


@fails(pickles_to_workers="cannot be sent to a worker")
class HoldsALambda(Dataset):
    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.scale = lambda x: x


@fails(pickles_to_workers="audio differs in the copy of a worker")
class ForgetsItsScale(Dataset):
    scale = 1.0

    def __init__(self, config: Any, model: ModelConfig) -> None:
        super().__init__(config, model)
        self.scale = 2.0

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "scale"}

    def transform(self, rows: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
        return {name: np.float32(self.scale) * array for name, array in super().transform(rows).items()}


@fails(a_missing_file_is_refused="reads a audio file that does not exist")
class ReadsNothing(Dataset):
    def read_one(self, path: Path) -> Any:
        return np.zeros(()).tolist()


@fails(a_missing_file_is_refused="does not name the file")
class DoesNotSayWhich(Dataset):
    def read_one(self, path: Path) -> Any:
        raise UserError("a file is not there")


@fails(a_missing_file_is_refused="FileNotFoundError")
class LeavesItToNumpy(Dataset):
    def read_one(self, path: Path) -> Any:
        return np.load(path).tolist()


@fails(
    saved_and_loaded="modle: unknown key (did you mean 'model'?)", renamed_plugin_is_explained="modle: unknown key"
)
class MisspeltDefaults(Dataset):
    defaults: ClassVar = {"modle": {"steps": 3}}


class DefaultsOfTraining(Dataset):
    """Right: it recommends what a configuration does not set by itself."""

    defaults: ClassVar = {"train": {"clip_grad": 1.0}, "model": {"steps": 2}}

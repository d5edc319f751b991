"""A right component of each kind, and for every check some that are wrong in just that way."""

from __future__ import annotations

from wrong.backbone import Backbone
from wrong.dataset import Arrays, Dataset, DefaultsOfTraining, Images
from wrong.encoder import Encoder, TaggedAnalogueEncoder, TaggedRate
from wrong.fusion import AudioAlone, Fusion, RefusedChoices, TaggedEqualTokens
from wrong.loss import Loss
from wrong.modulation import Modulation
from wrong.neuron import Neuron, TaggedAnalogue, TaggedMemoryless
from wrong.readout import Readout, WithFurtherHeads

RIGHT: dict[str, type] = {
    "neuron": Neuron,
    "encoder": Encoder,
    "backbone": Backbone,
    "fusion": Fusion,
    "readout": Readout,
    "loss": Loss,
    "dataset": Dataset,
    "modulation": Modulation,
}

ALSO_RIGHT: list[tuple[str, type]] = [
    ("readout", WithFurtherHeads),
    ("fusion", RefusedChoices),
    ("fusion", AudioAlone),
    ("fusion", TaggedEqualTokens),
    ("encoder", TaggedRate),
    ("encoder", TaggedAnalogueEncoder),
    ("neuron", TaggedAnalogue),
    ("neuron", TaggedMemoryless),
    ("dataset", Images),
    ("dataset", Arrays),
    ("dataset", DefaultsOfTraining),
]

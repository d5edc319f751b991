"""The interface of each kind of component. A plugin needs only this module and ``scmrl_plugins.registry``.

A component is a class with a ``Config``, a subclass of ``ComponentConfig``. It is a torch module, built as
``Component(config, context)``, unless it is a data set, built as ``Dataset(config, model)``. It inherits
the base class of its kind, which declares every optional ability with its default. A class that inherits
``torch.nn.Module`` alone works too and gets the same defaults.

Time is the first axis of every sequence, ``[T, B, ...]``, and no state survives a call.

Letters in shapes: T time steps, B samples, C channels, H x W pixels, D embedding dimension, N tokens
(Na audio, Nv visual), K classes.
"""

from scmrl_plugins.core.interfaces.components import (
    TAGS,
    Attends,
    Backbone,
    Component,
    CountsRepeats,
    Encoder,
    Foldable,
    Fusion,
    Loss,
    Neuron,
    Readout,
)
from scmrl_plugins.core.interfaces.dataset import (
    BadFileError,
    Contents,
    Dataset,
    EmptySplitError,
    Files,
    RepairedFileWarning,
    Span,
    cache_dir,
)
from scmrl_plugins.core.interfaces.equations import IntegrateAndFire
from scmrl_plugins.core.interfaces.modulation import (
    NEEDS,
    Gradients,
    Modulation,
    Teaching,
    TrainingPass,
    TrainingStep,
)
from scmrl_plugins.core.interfaces.settings import (
    MODALITIES,
    OTHER,
    SPLITS,
    ComponentConfig,
    Modality,
    ModelConfig,
)
from scmrl_plugins.core.interfaces.values import Context, Fused, ModelOutput, NeuronFactory

__all__ = [
    "MODALITIES",
    "NEEDS",
    "OTHER",
    "SPLITS",
    "TAGS",
    "Attends",
    "Backbone",
    "BadFileError",
    "Component",
    "ComponentConfig",
    "Contents",
    "Context",
    "CountsRepeats",
    "Dataset",
    "EmptySplitError",
    "Encoder",
    "Files",
    "Foldable",
    "Fused",
    "Fusion",
    "Gradients",
    "IntegrateAndFire",
    "Loss",
    "Modality",
    "ModelConfig",
    "ModelOutput",
    "Modulation",
    "Neuron",
    "NeuronFactory",
    "Readout",
    "RepairedFileWarning",
    "Span",
    "Teaching",
    "TrainingPass",
    "TrainingStep",
    "cache_dir",
]

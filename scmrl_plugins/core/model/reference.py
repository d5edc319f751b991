"""Published weights: builds the model of the S-CMRL code and maps its parameter names to ours.

The names and sizes are those of the published code (arXiv 2502.12488).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scmrl_plugins.core.config import layers
from scmrl_plugins.core.interfaces import MODALITIES
from scmrl_plugins.core.model import assembly
from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.registry import UserError

# Published parameters that the forward pass does not use.
_UNUSED = re.compile(r"norm1|norm2|res_lif|av_attention|act_fun|threshold")

_ATTENTION = {"query": "q", "key": "k", "value": "v", "projection": "proj"}
_MLP = {"expand": "fc1", "contract": "fc2"}
_LINEAR = {"reduce": "fc1", "weigh": "fc2", "own": "fc1", "other": "fc2"}
# Published block 0 is for audio, block 1 for vision.
_BLOCKS = {
    "audio_from_visual": "block.0",
    "visual_from_audio": "block.1",
    "audio_weight": "block.0",
    "visual_weight": "block.1",
    "audio_with_visual": "block.0",
    "visual_with_audio": "block.1",
}
_ATTENTION_NAMES = {"Spatial": "spatial", "Temporal": "temporal", "SpatialTemporal": "spatiotemporal"}


def build_from_reference(
    config: Mapping[str, Any], state: Mapping[str, Any], neuron: Mapping[str, Any] | None = None
) -> AudioVisualModel:
    """The model of the published code, with its weights.

    ``config``: the sizes as in the golden files' metadata (``steps``, ``num_classes``, ``image_size``,
    ``embed_dims``, ``num_heads``, ``attn_method``, ``cross_attn``, ``contrastive``, ``alpha``,
    ``interaction``, ``shallow_sps``, ``visual_channels``, ``temperature``, ``unimodal``, ``lif``). ``state``:
    tensors by published name, or a checkpoint with them under ``state_dict``, with or without the ``module.`` of
    parallel training; the model takes their floating type. ``neuron``: another ``[neuron]`` section.
    Raises ``UserError`` for an unsupported method, or weights that do not fit.
    """
    state = _unwrapped(state)
    sections = _sections(config)
    if neuron:
        sections["neuron"] = dict(neuron)
    model, _ = assembly.assemble_model(
        layers.validate(sections),
        classes=[str(label) for label in range(int(config["num_classes"]))],
        channels={"audio": int(config.get("audio_channels", 1)), "visual": int(config["visual_channels"])},
    )
    floating = [tensor.dtype for tensor in state.values() if tensor.is_floating_point()]
    if floating:
        model.to(floating[0])
    ours = reference_parameters(model)
    used = {name for name in state if not _UNUSED.search(name)}
    if missing := sorted(ours.keys() - used):
        raise UserError(f"the published weights lack {missing[0]!r} and {len(missing) - 1} more")
    if unknown := sorted(used - ours.keys()):
        raise UserError(
            f"the published weights hold {unknown[0]!r} and {len(unknown) - 1} more that the model of their "
            f"configuration does not have"
        )
    with torch.no_grad():
        for name, tensor in ours.items():
            if tensor.shape != state[name].shape:
                raise UserError(
                    f"{name!r} has shape {list(state[name].shape)}, the model of this configuration "
                    f"{list(tensor.shape)}"
                )
            tensor.copy_(state[name])
    return model


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    inner = state.get("state_dict")
    tensors = inner if isinstance(inner, Mapping) else state
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def reference_parameters(model: AudioVisualModel) -> dict[str, Tensor]:
    """The live parameters and buffers of a model under the published names."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    unimodal = len(model.modalities) == 1
    both = all(any(f".{kind}." in name for name in tensors) for kind in ("spatial", "temporal"))
    joint = any(name.startswith("readout.heads.") for name in tensors)
    return {
        _published(name, unimodal, both, joint): tensor
        for name, tensor in tensors.items()
        if not _UNUSED.search(name)
    }


def is_unused(name: str) -> bool:
    """Whether a published parameter is one that the published forward pass does not use."""
    return bool(_UNUSED.search(name))


def _sections(config: Mapping[str, Any]) -> dict[str, Any]:
    method = config["attn_method"]
    if config["unimodal"]:
        fusion: dict[str, Any] = {"name": "visual"}
    elif not config["cross_attn"]:
        fusion = {"name": "late"}
    elif method in _ATTENTION_NAMES:
        fusion = {
            "name": "cmrl",
            "attention": _ATTENTION_NAMES[method],
            "alpha": float(config["alpha"]),
            "align": bool(config["contrastive"]),
            "temporal_order": "published",
        }
    elif method == "WeightAttention":
        fusion = {"name": "weight-attention"}
    elif method == "CMCI":
        fusion = {"name": "cmci", "both_blocks": True}
    else:
        supported = ", ".join([*_ATTENTION_NAMES, "WeightAttention", "CMCI"])
        raise UserError(f"attn_method {method!r} is not supported; choose from {supported}")
    if config.get("scale", 0.25) != 0.25:
        raise UserError(f"scale {config['scale']} is not supported: the factor of the attention is 0.25")
    lif = config.get("lif", {})
    loss: list[dict[str, Any]] = [{"name": "ce", "label_smoothing": 0.0}]
    if config["contrastive"]:
        loss.append({"name": "sao", "temperature": float(config["temperature"])})
    return {
        "neuron": {
            "name": "lif",
            "tau": float(lif.get("tau", 2.0)),
            "threshold": float(lif.get("threshold", 1.0)),
            "detach_membrane": bool(lif.get("detach_membrane_through_time", True)),
        },
        "backbone": {
            "name": "spikformer",
            "splitting": "shallow" if config["shallow_sps"] else "deep",
        },
        "fusion": fusion,
        "readout": {"name": str(config["interaction"]).lower()},
        "loss": loss,
        "model": {key: int(config[key]) for key in ("steps", "embed_dims", "num_heads", "image_size")},
    }


def _published(name: str, unimodal: bool, both: bool, joint: bool) -> str:
    """The published name of one of our parameters.

    ``unimodal``: the model has one modality; ``both``: its attention has a spatial and a temporal branch;
    ``joint``: it has a joint stream and three heads.
    """
    parts = name.split(".")
    leaf = parts[-1]
    if parts[0] == "readout":
        if parts[1] == "heads":
            return f"head.{1 + MODALITIES.index(parts[2])}.{leaf}"
        return f"head.0.{leaf}" if joint else f"head.{leaf}"
    if parts[0] == "backbones":
        modality, rest = parts[1], parts[2:]
        if rest[0] == "patches":
            embed = "patch_embed" if unimodal else f"{modality}_patch_embed"
            if rest[1] == "position":
                return f"{embed}.rpe_{rest[2]}.{leaf}"
            stage = rest[2] if rest[2] != "0" else ""
            return f"{embed}.proj_{rest[3]}{stage}.{leaf}"
        if rest[0] == "mlp":
            prefix = "block.0.mlp" if unimodal else f"mlp.{MODALITIES.index(modality)}.mlp"
            return f"{prefix}.{_MLP[rest[1]]}_{rest[2]}.{leaf}"
    if parts[0] == "fusion":
        block = _BLOCKS.get(parts[1])
        if block and parts[2] in _LINEAR:
            return f"{block}.attn.{_LINEAR[parts[2]]}.{leaf}"
        if block and parts[2] == "mlp":
            return f"{block}.attn.mlp.mlp.{_MLP[parts[3]]}_{parts[4]}.{leaf}"
        if parts[1] == "attention":
            return f"block.0.attn.{_ATTENTION[parts[2]]}_{parts[3]}.{leaf}"
        if block and parts[2] == "project":
            return f"{block}.trans_linear.{leaf}"
        if block and parts[2] in ("spatial", "temporal"):
            branch = f".{parts[2]}_attn" if both else ""
            return f"{block}.attn{branch}.{_ATTENTION[parts[3]]}_{parts[4]}.{leaf}"
    raise UserError(f"{name!r} has no published counterpart: this model is not one of the published ones")

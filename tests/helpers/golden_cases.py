"""The golden files: a case's configuration, its tensors, and the comparison of a model with all of them."""

from __future__ import annotations

import json
from typing import Any

import torch
from paths import ROOT
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from scmrl_plugins.core.model.audio_visual import AudioVisualModel
from scmrl_plugins.core.model.reference import build_from_reference, reference_parameters
from scmrl_plugins.registry import catalogue

GOLDEN = ROOT / "tests" / "golden"
CASES = [
    "cmci",
    "cmrl_shallow_events",
    "cmrl_spatial",
    "cmrl_spatiotemporal_aligned",
    "cmrl_temporal",
    "late_add",
    "late_concat",
    "unimodal_visual",
    "weight_attention",
]
NEURONS: dict[str, dict[str, Any] | None] = {
    "lif": None,
    "braincog": {
        "name": "braincog:LIFNode",
        "threshold": 1.0,
        "tau": 2.0,
        "surrogate": "sigmoid",
        "alpha": 4.0,
    },
}


class Golden:
    """One file: its configuration and its tensors, in float64, by the part before the first slash."""

    def __init__(self, name: str) -> None:
        with safe_open(GOLDEN / f"{name}.safetensors", framework="pt") as file:
            self.config: dict[str, Any] = json.loads(file.metadata()["config"])
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def __getitem__(self, key: str) -> Tensor:
        tensor = self.tensors[key]
        return tensor.double() if tensor.is_floating_point() else tensor

    def __contains__(self, key: str) -> bool:
        return key in self.tensors

    def group(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): self[key] for key in self.tensors if key.startswith(prefix)}

    def model(self, neuron: dict[str, Any] | None = None) -> AudioVisualModel:
        return build_from_reference(self.config, self.group("state/"), neuron)

    def inputs(self) -> dict[str, Tensor | None]:
        unimodal = self.config["unimodal"]
        return {"audio": None if unimodal else self["in/audio"], "visual": self["in/visual"]}


def close(ours: Tensor, golden: Tensor, what: str) -> None:
    assert ours.dtype == golden.dtype, what
    torch.testing.assert_close(ours, golden, atol=1e-9, rtol=0, msg=lambda text: f"{what}: {text}")


def check_every_number(golden: Golden, model: AudioVisualModel) -> None:
    """Logits, features, losses, gradients and running statistics: evaluation, then one training step."""
    target = golden["in/label"]

    model.eval()
    close(model(**golden.inputs()).logits, golden["eval/logits"], "eval/logits")

    model.train()
    out = model(**golden.inputs())
    close(out.logits, golden["train/logits"], "train/logits")
    features = {name for name in ("audio", "visual") if f"train/{name}_feature" in golden}
    ours = out.aux_logits or out.aligned or {}  # of CMCI the two modalities' heads
    assert features == ours.keys()
    for name in features:
        close(ours[name], golden[f"train/{name}_feature"], f"train/{name}_feature")

    loss = F.cross_entropy(out.logits, target)
    close(loss, golden["train/loss_ce"], "train/loss_ce")
    for logits in out.aux_logits.values():
        loss = loss + F.cross_entropy(logits, target)
    assert golden.config["contrastive"] == ("train/loss_align" in golden)
    if golden.config["contrastive"]:
        sao = catalogue().get("loss", "sao").load()
        align = sao(sao.Config(temperature=golden.config["temperature"]), None)(out, target)
        close(align, golden["train/loss_align"], "train/loss_align")
        loss = loss + align
    close(loss, golden["train/loss"], "train/loss")

    loss.backward()
    parameters = reference_parameters(model)
    grads = golden.group("grad/")
    learned = {name for name, value in parameters.items() if value.requires_grad}
    if golden.config["attn_method"] == "CMCI":  # vision's block runs, and its output is dropped
        dropped = {name for name in learned if name.startswith("block.1.")}
        assert all(parameters[name].grad is None for name in dropped)
        learned -= dropped
    assert learned == grads.keys()
    for name, grad in grads.items():
        assert parameters[name].grad is not None, name
        close(parameters[name].grad, grad, f"grad/{name}")
    assert any(grad.abs().max() > 1e-4 for grad in grads.values())

    after = golden.group("after/")
    assert {name for name in parameters if "running_" in name} == {n for n in after if "running_" in n}
    for name, value in after.items():
        close(parameters[name], value, f"after/{name}")

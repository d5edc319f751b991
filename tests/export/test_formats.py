"""What reads the files that were written, to compare them with the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scmrl_plugins.export.formats import onnx, torch_export


class Sum(nn.Module):
    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        return audio + 2 * visual


INPUTS = {"visual": torch.tensor([[1.0, 2.0]]), "audio": torch.tensor([[3.0, 5.0]])}
EXPECTED = torch.tensor([[5.0, 9.0]])


def test_a_graph_is_read_by_the_names_of_its_inputs(tmp_path: Path) -> None:
    helper = pytest.importorskip("onnx.helper")
    pytest.importorskip("onnxruntime")
    row = [1, 2]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["visual", "visual"], ["twice"]),
            helper.make_node("Add", ["audio", "twice"], ["logits"]),
        ],
        "sum",
        [helper.make_tensor_value_info(name, onnx.FLOAT, row) for name in ("audio", "visual")],
        [helper.make_tensor_value_info("logits", onnx.FLOAT, row)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx.OPSET)], ir_version=9)
    (tmp_path / "sum.onnx").write_bytes(model.SerializeToString())
    assert torch.equal(onnx.reader(tmp_path / "sum.onnx")(INPUTS), EXPECTED)


def test_a_program_is_read_by_the_names_of_its_inputs(tmp_path: Path) -> None:
    program = torch.export.export(Sum(), (), kwargs={"audio": torch.ones(1, 2), "visual": torch.ones(1, 2)})
    torch.export.save(program, tmp_path / "sum.pt2")
    assert torch.equal(torch_export.reader(tmp_path / "sum.pt2")(INPUTS), EXPECTED)

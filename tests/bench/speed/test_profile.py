from __future__ import annotations

from types import SimpleNamespace

from torch.autograd import DeviceType

from scmrl_plugins.bench.speed import report
from scmrl_plugins.bench.speed.profile import kernels


def test_kernels_are_counted_and_their_share_on_tensor_cores() -> None:
    names = ["ampere_bf16_s16816gemm_bf16_128x128", "nvjet_tst_128x64", "ampere_sgemm_128x64_nn", "triton_poi_0"]
    ran = [SimpleNamespace(name=n, device_type=DeviceType.CUDA, self_device_time_total=250.0) for n in names]
    beside = [
        SimpleNamespace(name="Memcpy HtoD", device_type=DeviceType.CUDA, self_device_time_total=9.0),
        SimpleNamespace(name="aten::mm", device_type=DeviceType.CPU, self_device_time_total=500.0),
    ]
    result = kernels([*ran, *beside])
    assert result == {"count": 4, "ms": 1.0, "tensor_cores": 0.5}
    assert kernels([]) == {"count": 0, "ms": 0.0, "tensor_cores": 0.0}
    lines = report.profile_lines({"operators": [], "kernels": result})
    assert lines[-1] == (
        "Kernels of the GPU in a training step: 4, 1 ms of work, "
        "50% of it on tensor cores, judging by their names."
    )

"""A kind of work is told by names, and gets the time that is its own."""

import pytest
import torch

from benchmarks.breakdown import ELEMENTS, IDLE, break_down, find_kind


def test_kinds_are_told_by_the_names_of_operators_and_kernels():
    expected = {
        "aten::addmm": "matrix products",
        "sm80_xmma_gemm_bf16bf16_bf16f32": "matrix products",
        "nvjet_tst_128x256_64x4": "matrix products",
        "pytorch_flash::flash_fwd_kernel": "attention",
        "aten::mkldnn_rnn_layer": "LSTM",
        "aten::native_layer_norm": "layer norm",
        "multi_tensor_apply_kernel": "optimizer",
        "aten::mul": ELEMENTS,
        "vectorized_elementwise_kernel": ELEMENTS,
    }
    assert {name: find_kind(name) for name in expected} == expected


def test_the_time_of_a_product_is_its_own():
    left = torch.randn(600, 600)
    found = break_down(lambda: [left @ left for _ in range(20)])
    assert found.kinds["matrix products"] > 0.8
    assert IDLE not in found.kinds
    assert sum(found.kinds.values()) == pytest.approx(1)
    assert sum(found.names.values()) == pytest.approx(1)
    assert next(iter(found.names)) == "aten::mm"

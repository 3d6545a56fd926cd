"""The Triton kernels become code for a GPU, which takes less than the interpreter does."""

import importlib

import pytest

pytest.importorskip("triton")


@pytest.mark.parametrize("element", ["fp32", "bf16", "fp64"])
def test_they_compile_for_a_gpu_that_is_not_there(element):
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    kernels = importlib.import_module("vlif_plugin.neurons.triton_kernels")
    wide = "fp64" if element == "fp64" else "fp32"
    shared = {"DTYPE": getattr(tl, f"float{wide[2:]}"), "BLOCK": 512, "DENSE": False}
    lif = {
        "TAU": 3.0, "THRESHOLD": 0.15, "RESET": 0.5, "SOFT": False, "DECAY": True, "DETACH": False, "ALPHA": 4.0,
        "R": 1,
    }  # fmt: skip
    integer = {
        "D": 4.0, "LEVELS": 4.0, "BETA": 0.25, "TAKE_COUNT": True, "DETACH": False, "R": 2,
    }  # fmt: skip
    for kernel, constants in (
        (kernels._lif_forward, lif), (kernels._lif_backward, lif | {"SOFT": True}),
        (kernels._integer_forward, integer), (kernels._integer_backward, integer),
    ):  # fmt: skip
        known = {k: v for k, v in (constants | shared).items() if k in kernel.arg_names}
        types = {
            name: "constexpr" if name in known
            else f"*{wide if name == 'h_ptr' else element}" if name.endswith("_ptr") else "i32"
            for name in kernel.arg_names
        }  # fmt: skip
        made = compile(
            ASTSource(fn=kernel, signature=types, constexprs=known),
            target=GPUTarget("cuda", 90, 32),
            options={"enable_fp_fusion": False},
        )
        assert made.asm["cubin"]

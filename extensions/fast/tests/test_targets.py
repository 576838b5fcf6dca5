"""The step as it is compiled for processors that are not at hand: AVX2 without AVX-512, and ARM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}
PROGRAM = """
import json, re, sys
import llvmlite.binding as llvm
import torch
from numba.core import codegen

before, optimise = {}, codegen.CPUCodeLibrary._optimize_final_module
def keep(library):
    before[library.name] = str(library._final_module)  # what LLVM gets; afterwards it is x86's
    optimise(library)
codegen.CPUCodeLibrary._optimize_final_module = keep

from expotion_fast import can_run, kernel, target, warm
from expotion_fast.linear import FusedLinear

warm.compile_all()
weight, x = torch.randn(96, 72), torch.randn(3, 72)
told = {
    "features": sorted(target.features()),
    "modes": [mode for mode in ("fp32", "bf16", "fp16", "int8") if can_run(mode, torch.device("cpu"))],
    "error": {
        mode: float((FusedLinear(weight, mode)(x) - x @ weight.T).norm() / (x @ weight.T).norm())
        for mode in ("fp32", "bf16", "int8")
    },
}
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
arm = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
machine = arm.create_target_machine(cpu="neoverse-n1", features="+neon,+dotprod", opt=3)
for function in (kernel.run, kernel.multiply):
    name = function.py_func.__name__
    (x86,) = function.inspect_asm().values()
    ir = next(ir for library, ir in before.items() if library.startswith(name))
    # numba's own counting of references is x86's by now; the kernels do not use it
    module = llvm.parse_assembly(re.sub(r"llvm[.]x86[.]atomic[.\\w]*", "x86_atomic", ir))
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    text = machine.emit_assembly(module)
    told[name.partition("_")[0]] = {
        "zmm": len(re.findall(r"%zmm", x86)),
        "ymm": len(re.findall(r"%ymm", x86)),
        "fma": len(re.findall(r"vfmadd\\w*ps", x86)),
        "fmla": len(re.findall(r"\\bfmla\\s+v\\d+\\.4s", text)),
        "sdot": len(re.findall(r"\\b[su]dot\\s", text)),
        "calls": sorted(set(re.findall(r"\\bbl\\s+((?:fma|exp|rint|nearbyint)f?)\\b", text))),
    }
json.dump(told, sys.stdout)
"""


@pytest.mark.slow  # compiles the whole step
def test_what_the_step_is_compiled_to_elsewhere(tmp_path: Path) -> None:
    environment = {**os.environ, **AVX2, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, env=environment, timeout=230
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert "avx2" in told["features"] and told["modes"] == ["fp32", "bf16", "int8"]
    assert told["error"]["fp32"] < 1e-6 and told["error"]["bf16"] < 5e-3 and told["error"]["int8"] < 1e-2
    for name in ("run", "multiply"):
        found = told[name]
        assert found["zmm"] == 0 < found["ymm"] and found["fma"] > 16, found
        assert found["fmla"] > 16 and not found["calls"], found  # NEON's own, no call of a library

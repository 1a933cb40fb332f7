"""Compiles the Triton kernels for sm_90a, without a GPU, and prints what came out as JSON.

Started by test_triton in a process of its own: whether Triton interprets is decided on import.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rlswarm.kernels import triton_fold, triton_score

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def compiled(
    kernel: Any, types: dict[str, str], constants: dict[str, Any], **options: int
) -> dict[str, int]:
    """Shared memory in bytes, bytes spilled, and counts of tensor-core instructions."""
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    aligned = {
        (names.index(name),): [["tt.divisibility", 16]]
        for name, kind in types.items()
        if kind.startswith("*") or name in ("width", "row_stride", "tokens")
    }
    source = ASTSource(
        kernel, signature, {(names.index(n),): v for n, v in constants.items()}, aligned
    )
    result = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        ptx, cubin = Path(folder) / "k.ptx", Path(folder) / "k.cubin"
        ptx.write_text(result.asm["ptx"])
        cubin.write_bytes(result.asm["cubin"])
        # One of the two assemblers that come with Triton knows this version of PTX.
        for tool in sorted(TOOLS.glob("ptxas*"), reverse=True):
            done = subprocess.run(
                [tool, "-v", "--gpu-name=sm_90a", ptx, "-o", "/dev/null"],
                capture_output=True,
                text=True,
            )
            if done.returncode == 0:
                break
        else:
            raise RuntimeError(done.stderr)
        listing = subprocess.run(
            [TOOLS / "cuobjdump", "-sass", cubin], capture_output=True, text=True, check=True
        ).stdout
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill", done.stderr)]
    return {
        "shared": result.metadata.shared,
        "spilled": sum(spills),
        "registers": int(re.findall(r"Used (\d+) registers", done.stderr)[0]),
        "HGMMA": len(re.findall(r"\bHGMMA", listing)),
        "HMMA": len(re.findall(r"\bHMMA", listing)),
        "sm_90a": int("sm_90a" in result.asm["ptx"]),
    }


def main() -> None:
    pointers = ("hidden", "weight", "bias")
    score_types = {f"{name}_ptr": "*bf16" for name in pointers}
    score_types |= {"targets_ptr": "*i64", "temperature_ptr": "*fp32", "out_ptr": "*fp32"}
    integers = ("count", "vocabulary", "width", "row_stride", "part_tokens")
    score_types |= dict.fromkeys(integers, "i32")
    score_types |= {"scale": "fp32", "softcap": "fp32"}
    tile = {
        "UPCAST": False,
        "ROWS": triton_score.ROWS,
        "COLUMNS": triton_score.COLUMNS,
        "DEPTH": triton_score.DEPTH,
    }
    found = {}
    for name, bias, cap in (("score", False, False), ("score, bias and cap", True, True)):
        found[name] = compiled(
            triton_score.score_kernel,
            score_types,
            {"HAS_BIAS": bias, "HAS_CAP": cap, **tile},
            num_warps=triton_score.WARPS,
            num_stages=triton_score.STAGES,
        )
    names = triton_fold.fold_kernel.arg_names
    fold_types = {name: "*fp32" for name in names if name.endswith("_ptr")}
    fold_types |= {"targets_ptr": "*i64", "tokens": "i32"}
    found["fold"] = compiled(
        triton_fold.fold_kernel, fold_types, {"BLOCK": triton_fold.BLOCK}, num_warps=4
    )
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

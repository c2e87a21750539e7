"""What `glmlite doctor` says of ONNX bundles: what makes and runs them here, and how well."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from glmlite.runtime.engines.interpreter import Interpreter
from glmlite.runtime.engines.onnx_session import MINIMUM
from glmlite.runtime.engines.versions import version_key
from glmlite.runtime.threads import default_threads

# Instruction sets for products of 8-bit integers, the fastest first; names as in Host.cpu_features.
_INT8 = (
    ("amx_int8", "AMX"),
    ("avx512_vnni", "AVX-512 VNNI"),
    ("avx_vnni", "AVX VNNI"),
    ("avx2", "AVX2"),
    ("i8mm", "I8MM"),
    ("asimddp", "dot product"),
)


@dataclasses.dataclass(frozen=True)
class OnnxState:
    """ONNX in one interpreter.

    Attributes:
        onnx: version of the package that writes graphs, or None.
        onnxruntime: version of the one that runs them, or None.
        new_enough: whether the engine `onnx` takes that version.
        threads: that a product is shared by, unless told otherwise.
        int8: how this processor multiplies 8-bit integers, "" where it has nothing special.
    """

    onnx: str | None
    onnxruntime: str | None
    new_enough: bool
    threads: int
    int8: str


def inspect_onnx(found: Interpreter | None, cpu_features: Collection[str]) -> OnnxState:
    """Look at an interpreter's packages and at this processor."""
    packages = found.packages if found else {}
    version = packages.get("onnxruntime")
    return OnnxState(
        onnx=packages.get("onnx"),
        onnxruntime=version,
        new_enough=version is not None and version_key(version) >= version_key(MINIMUM),
        threads=default_threads(),
        int8=next((name for flag, name in _INT8 if flag in cpu_features), ""),
    )

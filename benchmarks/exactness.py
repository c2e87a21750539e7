"""What integer operators compute: exact sums, and the same for one row as for several.

    python benchmarks/exactness.py

16-bit sums saturate on processors without VNNI, and some kernels add in another order where there
are two rows or more. The first makes wrong results, the second changes last bits, which matters to
drafts (docs/cpu.md). Needs `pip install 'glmlite[onnx]'`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.products import (
    Arrays,
    Maker,
    all_operators,
    block_weights,
    build,
    column_weights,
    feeds,
)
from glmlite.runtime.host import inspect_host

ROWS = (2, 3, 4, 8, 16, 33)


def one_product(maker: Maker, arrays: Arrays, x: np.ndarray) -> np.ndarray:
    """What an operator makes of given weights."""

    def given(out: int, into: int, rng: np.random.Generator):
        nodes, made = maker(out, into, rng)
        return nodes, {**made, **arrays}

    out = arrays["w"].shape[1] if x.dtype == np.uint8 else arrays["w"].shape[0]
    session, _ = build(given, out, x.shape[1], 1, 1)
    fed = feeds(session, *x.shape)
    fed["xq" if x.dtype == np.uint8 else "x"] = x
    if "xz" in fed:
        fed |= {"xz": np.array(0, np.uint8), "xs": np.array(1, np.float32)}
    return session.run(None, {i.name: fed[i.name] for i in session.get_inputs()})[0]


def check_exactness() -> list[dict[str, object]]:
    """Integer operators against 64-bit sums; relative to the largest sum."""
    into, out, found = 512, 64, []
    rng = np.random.default_rng(2)
    for name, dtype, low, high in (
        ("u8 x s8, all bits", np.int8, -128, 127),
        ("u8 x s8, 7 bits", np.int8, -64, 63),
        ("u8 x u8, all bits", np.uint8, 0, 255),
    ):
        for kind in ("random", "extreme"):
            x = rng.integers(0, 256, (8, into), np.uint8)
            w = rng.integers(low, high, (into, out), dtype, endpoint=True)
            if kind == "extreme":
                x[:], w[:] = 255, high
            for rows in (1, 8):
                zero = {"wz": np.zeros(out, np.uint8)} if dtype is np.uint8 else {}
                arrays = {"w": w, "ws": np.ones(out, np.float32), **zero}
                got = one_product(column_weights(dtype), arrays, x[:rows])
                want = x[:rows].astype(np.int64) @ w.astype(np.int64)
                off = float(np.abs(got - want).max() / np.abs(want).max())
                found.append({"operator": name, "data": kind, "rows": rows, "error": off})
    for bits in (4, 8):
        top = 2**bits - 1
        for kind, value in (("largest", top), ("smallest", 0)):
            packed = value * (17 if bits == 4 else 1)
            w = np.full((out, into // 128, 128 * bits // 8), packed, np.uint8)
            for rows in (1, 8):
                x = np.ones((rows, into), np.float32)
                arrays = {"w": w, "s": np.ones(out * into // 128, np.float32)}
                got = one_product(block_weights(bits, 128, 4), arrays, x)
                want = into * (value - 2 ** (bits - 1))
                off = float(np.abs(got - want).max() / abs(want))
                name = f"MatMulNBits {bits} bits, level 4"
                found.append({"operator": name, "data": kind, "rows": rows, "error": off})
    return found


def check_rows(threads: int) -> list[dict[str, object]]:
    """How many rows of a step differ, in any bit, from the same rows computed alone."""
    out, into, found = 4608, 4096, []
    x = np.random.default_rng(3).standard_normal((max(ROWS), into)).astype(np.float32)
    for name, maker in all_operators().items():
        if not name.endswith(("-l4", "float32")):
            continue
        session, _ = build(maker, out, into, 1, threads)
        alone = np.concatenate([session.run(None, {"x": x[i : i + 1]})[0] for i in range(len(x))])
        for rows in ROWS:
            together = session.run(None, {"x": x[:rows]})[0]
            differ = int((together != alone[:rows]).any(axis=1).sum())
            found.append({"operator": name, "rows": rows, "differ": differ})
    return found


def main() -> None:
    """The command."""
    onnxruntime.set_default_logger_severity(3)
    host = inspect_host()
    print(f"{host.cpu} ({' '.join(host.cpu_features)}), ONNX Runtime {onnxruntime.__version__}")
    print("\nlargest error, relative to the largest sum")
    for row in check_exactness():
        print(f"  {row['operator']:30}{row['data']:10}{row['rows']:3} rows {row['error']:10.2e}")
    print("\nrows of a step that differ from the same rows alone, for steps of " + str(ROWS))
    found = check_rows(2)
    for name in dict.fromkeys(row["operator"] for row in found):
        print(f"  {name:16}", *[row["differ"] for row in found if row["operator"] == name])


if __name__ == "__main__":
    main()

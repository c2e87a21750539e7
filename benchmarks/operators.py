"""How fast ONNX Runtime's matrix products are at the shapes of ChatGLM2-6B, and whether exact.

    python benchmarks/operators.py [--rows 1,8,128,512] [--only NAME,…] [--threads 2] [--json]

Three parts: the read bandwidth of this machine (NumPy dot products on all threads, the best of
several), what integer operators compute where 16-bit sums would saturate, and the time of each
operator for all matrices of one layer and the output layer. Up to 16 rows the weights are repeated
until no cache holds them. Times are the best of several runs. Needs `pip install 'glmlite[onnx]'`
and 6 GiB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the bandwidth is measured on own threads

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from glmlite.runtime.host import inspect_host

# Output and input channels; the first four make up a layer.
SHAPES = {
    "qkv": (4608, 4096),
    "dense": (4096, 4096),
    "h_to_4h": (27392, 4096),
    "4h_to_h": (4096, 13696),
    "output": (65024, 4096),
}
LAYERS = 28
UNCACHED = 160 << 20
MICROSOFT = "com.microsoft"
Arrays = dict[str, np.ndarray]
# Makes the weights of one matrix [out, in]; the node's inputs are "x" and these in order.
Maker = Callable[[int, int, np.random.Generator], tuple[list[tuple[str, dict]], Arrays]]


def float_weights(out: int, into: int, rng: np.random.Generator):
    """A float32 product; Gemm stands for FusedMatMul and MatMul, which use the same kernel."""
    node = ("Gemm", {"inputs": ["x", "w"], "transB": 1})
    return [node], {"w": rng.random((out, into), np.float32)}


def block_weights(bits: int, block: int, level: int) -> Maker:
    """MatMulNBits."""

    def make(out: int, into: int, rng: np.random.Generator):
        blocks = -(-into // block)
        packed = np.frombuffer(rng.bytes(out * blocks * block * bits // 8), np.uint8)
        node = {"domain": MICROSOFT, "inputs": ["x", "w", "s"], "K": into, "N": out}
        node |= {"bits": bits, "block_size": block, "accuracy_level": level}
        scale = np.full(out * blocks, 0.01, np.float32)
        return [("MatMulNBits", node)], {"w": packed.reshape(out, blocks, -1), "s": scale}

    return make


def column_weights(dtype: type) -> Maker:
    """MatMulIntegerToFloat on activations that are quantized beforehand, a scale for each row."""

    def make(out: int, into: int, rng: np.random.Generator):
        weights = np.frombuffer(rng.bytes(out * into), dtype).reshape(into, out)
        inputs = ["xq", "w", "xs", "ws", "xz"]
        arrays = {"w": weights, "ws": np.full(out, 0.01, np.float32)}
        if dtype is np.uint8:
            inputs, arrays = [*inputs, "wz"], {**arrays, "wz": np.full(out, 128, np.uint8)}
        return [("MatMulIntegerToFloat", {"domain": MICROSOFT, "inputs": inputs})], arrays

    return make


def dynamic_weights(out: int, into: int, rng: np.random.Generator):
    """DynamicQuantizeMatMul: quantizes the activations itself, one scale for the whole chunk."""
    weights = np.frombuffer(rng.bytes(out * into), np.int8).reshape(into, out)
    node = ("DynamicQuantizeMatMul", {"domain": MICROSOFT, "inputs": ["x", "w", "ws"]})
    return [node], {"w": weights, "ws": np.full(out, 0.01, np.float32)}


def all_operators() -> dict[str, Maker]:
    """Name -> weights and node."""
    made: dict[str, Maker] = {"float32": float_weights}
    for bits in (4, 8):
        for block in (16, 32, 64, 128, 256):
            for level in (4, 0, 1) if block in (32, 128) else (4,):
                made[f"int{bits}-b{block}-l{level}"] = block_weights(bits, block, level)
    made["u8s8"] = column_weights(np.int8)
    made["u8u8"] = column_weights(np.uint8)
    made["dynamic-u8s8"] = dynamic_weights
    return made


def build(maker: Maker, out: int, into: int, copies: int, threads: int):
    """A session of `copies` products of one input; each has weights of its own."""
    rng = np.random.default_rng(0)
    nodes, initializers, values, outputs = [], [], {}, []
    for i in range(copies):
        (made,), arrays = maker(out, into, rng)
        operator, attributes = made[0], dict(made[1])
        names = [n if n.startswith("x") else f"{n}{i}" for n in attributes.pop("inputs")]
        nodes.append(helper.make_node(operator, names, [f"y{i}"], **attributes))
        outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None))
        for name, array in arrays.items():
            values[f"{name}{i}"] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
            tensor = TensorProto(name=f"{name}{i}", dims=array.shape)
            tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="given")
            initializers.append(tensor)
    used = {n for node in nodes for n in node.input}
    inputs = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("x", TensorProto.FLOAT, ["T", into]),
            ("xq", TensorProto.UINT8, ["T", into]),
            ("xs", TensorProto.FLOAT, ["T", 1] if "xq" in used else []),
            ("xz", TensorProto.UINT8, ["T", 1] if "xq" in used else []),
        )
        if name in used
    ]
    # MatMulIntegerToFloat takes one activation scale; rows are rescaled outside in real graphs.
    for item in inputs:
        if item.name in ("xs", "xz"):
            item.type.tensor_type.shape.Clear()
    graph = helper.make_graph(nodes, "products", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_external_initializers(list(values), list(values.values()))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session, sum(v.numpy().nbytes for v in values.values())


def feeds(session: onnxruntime.InferenceSession, rows: int, into: int) -> Arrays:
    """Inputs of one run."""
    rng = np.random.default_rng(1)
    every = {
        "x": rng.standard_normal((rows, into), np.float32),
        "xq": rng.integers(0, 256, (rows, into), np.uint8),
        "xs": np.array(0.01, np.float32),
        "xz": np.array(128, np.uint8),
    }
    return {i.name: every[i.name] for i in session.get_inputs()}


def best_time(
    run: Callable[[], object],
    at_least: float = 0.6,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    run()
    found, started = [], time.perf_counter()
    while len(found) < 3 or (time.perf_counter() - started < at_least and len(found) < 50):
        before = clock()
        run()
        found.append(clock() - before)
    return min(found)


def read_bandwidth(threads: int) -> float:
    """Bytes a second that `threads` threads read together, each over memory of its own."""
    arrays = [np.ones(64 << 20, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = best_time(lambda: list(pool.map(lambda a: np.dot(a, a), arrays)), 2.0)
    return sum(a.nbytes for a in arrays) / seconds


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


def time_operators(
    names: list[str], shapes: list[str], rows: list[int], threads: int, cpu_time: bool
):
    """Seconds for each operator, matrix and number of rows."""
    found = []
    clock = time.process_time if cpu_time else time.perf_counter
    for name in names:
        for shape in shapes:
            out, into = SHAPES[shape]
            maker = all_operators()[name]
            bits = {"int4": 4, "int8": 8, "floa": 32}.get(name[:4], 8)
            many = -(-UNCACHED // (out * into * bits // 8))
            for few_rows in (True, False):
                chosen = [n for n in rows if (n <= 16) == few_rows]
                if not chosen:
                    continue
                copies = many if few_rows else 1
                session, nbytes = build(maker, out, into, copies, threads)
                for n in chosen:
                    fed = feeds(session, n, into)
                    run = partial(session.run, None, fed)
                    seconds = best_time(run, clock=clock) / copies
                    found.append(
                        {
                            "operator": name,
                            "matrix": shape,
                            "rows": n,
                            "seconds": seconds,
                            "gb_per_s": nbytes / copies / seconds / 1e9,
                            "gop_per_s": 2 * n * out * into / seconds / 1e9,
                        }
                    )
                    print(
                        f"  {name:14}{shape:8}{n:5} rows {seconds * 1e3:10.2f} ms",
                        file=sys.stderr,
                    )
                del session
    return found


def summarize(found: list[dict], rows: list[int]) -> list[str]:
    """One line per operator: a layer, the output layer, and the whole model's products."""
    lines = []
    for name in dict.fromkeys(row["operator"] for row in found):
        for n in rows:
            mine = {r["matrix"]: r for r in found if r["operator"] == name and r["rows"] == n}
            layer = [mine[m] for m in list(SHAPES)[:4] if m in mine]
            if len(layer) < 4:
                continue
            seconds = sum(r["seconds"] for r in layer)
            nbytes = sum(r["seconds"] * r["gb_per_s"] for r in layer)
            operations = sum(r["seconds"] * r["gop_per_s"] for r in layer)
            head = f"{mine['output']['seconds'] * 1e3:9.2f}" if "output" in mine else f"{'-':>9}"
            lines.append(
                f"{name:14}{n:6}{seconds * 1e3:12.2f}{head:>12}"
                f"{nbytes / seconds:9.1f}{operations / seconds:10.0f}{n / seconds / LAYERS:12.2f}"
            )
    return lines


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1,8,128,512", help="rows of the activations")
    parser.add_argument("--only", default="", help="operators, by the beginnings of their names")
    parser.add_argument("--matrices", default=",".join(SHAPES), help="of " + ",".join(SHAPES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the process's time instead of the clock's: for one thread on a busy machine",
    )
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    rows = [int(n) for n in arguments.rows.split(",")]
    prefixes = tuple(filter(None, arguments.only.split(",")))
    names = [n for n in all_operators() if not prefixes or n.startswith(prefixes)]
    onnxruntime.set_default_logger_severity(3)
    host = inspect_host()
    figures = {
        "cpu": host.cpu,
        "features": host.cpu_features,
        "threads": arguments.threads,
        "onnxruntime": onnxruntime.__version__,
        "bandwidth_one": read_bandwidth(1),
        "bandwidth": read_bandwidth(arguments.threads),
        "exactness": check_exactness(),
        "times": time_operators(
            names, arguments.matrices.split(","), rows, arguments.threads, arguments.cpu_time
        ),
    }
    figures["bandwidth"] = max(figures["bandwidth"], read_bandwidth(arguments.threads))
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{host.cpu} ({' '.join(host.cpu_features)}), {arguments.threads} threads, ", end="")
    print(f"ONNX Runtime {onnxruntime.__version__}")
    print(f"read bandwidth {figures['bandwidth_one'] / 1e9:.1f} GB/s on one thread, ", end="")
    print(f"{figures['bandwidth'] / 1e9:.1f} GB/s on {arguments.threads}\n\nlargest error")
    for row in figures["exactness"]:
        print(f"  {row['operator']:30}{row['data']:10}{row['rows']:3} rows {row['error']:10.2e}")
    print("\noperator        rows    layer ms   output ms   GB/s*   GOP/s*   tokens/s**")
    print("\n".join(summarize(figures["times"], rows)))
    print("* over a layer  ** of 28 layers' products alone, without the output layer")


if __name__ == "__main__":
    main()

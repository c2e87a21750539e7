"""Matrix products at the shapes of ChatGLM2-6B: ONNX Runtime sessions of one operator each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

# Output and input channels; the first four make up a layer.
SHAPES = {
    "qkv": (4608, 4096),
    "dense": (4096, 4096),
    "h_to_4h": (27392, 4096),
    "4h_to_h": (4096, 13696),
    "output": (65024, 4096),
}
MICROSOFT = "com.microsoft"
Arrays = dict[str, np.ndarray]
# Makes the weights of one matrix [out, in]; the node's inputs are "x" and these in order.
Maker = Callable[[int, int, np.random.Generator], tuple[list[tuple[str, dict]], Arrays]]
_LAST_LEVEL_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")


def uncached_bytes() -> int:
    """Weights that no cache of this machine holds: twice the last level, at least 160 MiB."""
    try:
        kilobytes = int(_LAST_LEVEL_CACHE.read_text(encoding="ascii").strip().rstrip("K"))
    except (OSError, ValueError):
        kilobytes = 0
    return max(160 << 20, 2 * kilobytes << 10)


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

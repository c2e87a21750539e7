"""MindSpore checkpoints by the protobuf library, from the message's definition."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

TYPES = {"float32": "Float32", "float16": "Float16", "int8": "Int8", "int32": "Int32",
         "int64": "Int64", "uint16": "BFloat16", "bool": "Bool"}  # fmt: skip


@functools.cache
def message() -> Any:
    """The class `Checkpoint`; checkpoint.proto is `proto2`."""
    import pytest

    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="ckpt.proto", package="test", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto

    def add(target: Any, name: str, number: int, kind: int, *, many: bool = False) -> Any:
        label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
        return target.field.add(name=name, number=number, type=kind, label=label)

    tensor = file.message_type.add(name="TensorProto")
    add(tensor, "dims", 1, kinds.TYPE_INT64, many=True)
    add(tensor, "tensor_type", 2, kinds.TYPE_STRING)
    add(tensor, "tensor_content", 3, kinds.TYPE_BYTES)
    table = file.message_type.add(name="MapTensorProto")
    add(table, "tensor", 1, kinds.TYPE_MESSAGE, many=True).type_name = ".test.TensorProto"
    value = file.message_type.add(name="Value")
    add(value, "tag", 1, kinds.TYPE_STRING)
    add(value, "tensor", 2, kinds.TYPE_MESSAGE).type_name = ".test.TensorProto"
    add(value, "maptensor", 3, kinds.TYPE_MESSAGE).type_name = ".test.MapTensorProto"
    checkpoint = file.message_type.add(name="Checkpoint")
    add(checkpoint, "value", 1, kinds.TYPE_MESSAGE, many=True).type_name = ".test.Value"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Checkpoint"))


def value(
    name: str, data: bytes | np.ndarray, dims: Sequence[int] | None = None, kind: str = ""
) -> bytes:
    """One Value as its own message, as MindSpore writes them one after the other."""
    checkpoint = message()()
    entry = checkpoint.value.add(tag=name)
    if isinstance(data, np.ndarray):
        dims = data.shape if dims is None else dims
        kind = kind or TYPES[data.dtype.name]
        data = data.tobytes()
    entry.tensor.dims.extend(dims or ())
    entry.tensor.tensor_type = kind
    entry.tensor.tensor_content = data
    return bytes(checkpoint.SerializeToString())

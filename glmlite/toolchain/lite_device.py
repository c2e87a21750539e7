"""Caches that stay on the device between two steps.

A cache is two sets of device Tensors: a step reads one and writes the other, and they change
places. `predict` gets both as lists, so nothing but ids and logits crosses to the host. What an
installed Lite can do is looked up in its signatures; what was run of this on a device: nothing.

Source: MindSpore Lite's Python API, `Tensor(shape, dtype, device)` and `Model.predict(inputs,
outputs)`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def takes_device_tensors(lite: Any) -> bool:
    """Whether this Lite has Tensors on a device, and writes outputs where it is told to."""
    try:
        tensor = inspect.signature(lite.Tensor.__init__).parameters
        predict = inspect.signature(lite.Model.predict).parameters
    except (AttributeError, TypeError, ValueError):
        return False
    return {"shape", "dtype", "device"} <= set(tensor) and "outputs" in predict


def make_tensor(lite: Any, shape: Sequence[int], dtype: np.dtype[Any], device: str | None) -> Any:
    """An empty Tensor; `device` is "ascend:0" and the like, None is the host."""
    kind = {"float16": "FLOAT16", "float32": "FLOAT32"}[np.dtype(dtype).name]
    return lite.Tensor(
        shape=[int(n) for n in shape], dtype=getattr(lite.DataType, kind), device=device
    )


class DeviceCache(list):  # type: ignore[type-arg]
    """The Tensors that hold the cache; `spare` are those that the next step writes.

    Args:
        lite: the module.
        arrays: the first values.
        device: "ascend:0" and the like.
    """

    def __init__(self, lite: Any, arrays: Sequence[NDArray[Any]], device: str) -> None:
        super().__init__(make_tensor(lite, a.shape, a.dtype, device) for a in arrays)
        self.spare = [make_tensor(lite, a.shape, a.dtype, device) for a in arrays]
        self.shapes = [a.shape for a in arrays]
        self.write(arrays)

    def write(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Copy values from the host to the device."""
        for tensor, array in zip(self, arrays):
            tensor.set_data_from_numpy(np.ascontiguousarray(array))

    def read(self) -> list[NDArray[Any]]:
        """The values, copied to the host."""
        return [
            np.array(tensor.get_data_to_numpy()).reshape(shape)
            for tensor, shape in zip(self, self.shapes)
        ]

    def swap(self) -> None:
        """What was written becomes what is read."""
        self[:], self.spare = self.spare, list(self)


class DeviceRuns:
    """Runs graphs on device caches.

    A graph's first run goes through the host: GE compiles in it and reads host memory only, and it
    tells the logits' shape. Where Lite then refuses device Tensors, `run` says so by raising, with
    the cache as it was.

    Args:
        lite: the module.
    """

    def __init__(self, lite: Any) -> None:
        self.lite = lite
        self._logits: dict[int, Any] = {}

    def knows(self, model: Any) -> bool:
        """Whether the model ran before."""
        return id(model) in self._logits

    def learn(self, model: Any, logits: NDArray[Any]) -> None:
        """Remember what a model's first output looks like."""
        self._logits[id(model)] = make_tensor(self.lite, logits.shape, logits.dtype, None)

    def run(self, model: Any, rows: Sequence[NDArray[Any]], cache: DeviceCache) -> NDArray[Any]:
        """One step without the cache crossing to the host; returns the logits, copied."""
        logits = self._logits[id(model)]
        inputs = model.get_inputs()[: len(rows)]
        for tensor, row in zip(inputs, rows):
            tensor.set_data_from_numpy(row)
        outputs = model.predict(inputs + list(cache), [logits, *cache.spare])
        result = np.array(outputs[0].get_data_to_numpy())
        cache.swap()
        return result

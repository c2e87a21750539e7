"""Runs in the toolchain: real Lite 2.0.0 arithmetic behind the surface that Lite 2.7 has.

2.0.0 has no device and takes no outputs. Here a Tensor "on the device" is memory of the host, and
`predict` copies what Lite computed into the Tensors that it is given. So the code that keeps a
cache on the device runs with real numbers up to the call that needs one; nothing is made up.

    python lite_device_run.py JOB.json OUT.npz PACKAGE
"""

import json
import sys
import types
from pathlib import Path

import mindspore_lite as lite
import numpy as np

sys.path.insert(0, sys.argv[3])

from toolchain.engine import GraphEngine
from toolchain.lite_backend import LiteBackend

KINDS = {"FLOAT32": np.float32, "FLOAT16": np.float16}


class Tensor:
    """The documented Tensor(shape, dtype, device); counts what crosses to or from a device."""

    crossings = 0

    def __init__(self, tensor=None, shape=None, dtype=None, device=None):
        self.device = device
        self.array = np.zeros(shape, KINDS[dtype])

    def set_data_from_numpy(self, array):
        Tensor.crossings += self.device is not None
        np.copyto(self.array, array)

    def get_data_to_numpy(self):
        Tensor.crossings += self.device is not None
        return self.array.copy()


class Model:
    """A real Model whose predict(inputs, outputs) writes where it is told to."""

    refuses = False

    def __init__(self):
        self.inner = lite.Model()
        self.kept = None

    def build_from_file(self, path, kind, context, config_path="", config_dict=None):
        real = lite.Context()
        real.target = ["cpu"]
        real.cpu.thread_num = 1
        self.inner.build_from_file(path, kind, real)

    def get_inputs(self):
        return self.inner.get_inputs()

    def predict(self, inputs, outputs=None):
        if Model.refuses and outputs is not None:
            raise RuntimeError("device Tensors are not supported by this provider")
        real = list(inputs)
        self.kept = []
        for i, own in enumerate(self.inner.get_inputs()):
            if isinstance(inputs[i], Tensor):
                self.kept.append(inputs[i].array.copy())
                own.set_data_from_numpy(self.kept[-1])
                real[i] = own
        found = self.inner.predict(real)
        if outputs is None:
            return found
        for tensor, result in zip(outputs, found):  # noqa: B905 - Python 3.7
            tensor.array[...] = result.get_data_to_numpy().reshape(tensor.array.shape)
        return outputs


class Context:
    def __init__(self):
        self.target = []
        self.cpu = types.SimpleNamespace(thread_num=1)
        self.ascend = types.SimpleNamespace(device_id=0, provider="", rank_id=0)


def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    surface = types.SimpleNamespace(
        __version__=lite.__version__,
        Tensor=Tensor,
        Model=Model,
        Context=Context,
        ModelType=lite.ModelType,
        DataType=types.SimpleNamespace(FLOAT32="FLOAT32", FLOAT16="FLOAT16"),
    )
    backend = LiteBackend(job["options"], surface)
    engine = GraphEngine(backend, job)
    logits, crossings, places = [], [], []
    caches = {}
    for step in job["steps"]:
        Model.refuses = step.get("refuses", False)
        if step["cache"] not in caches:
            caches[step["cache"]] = engine.new_cache()
        Tensor.crossings = 0
        rows = [np.array(step[k], np.int32) for k in ("input_ids", "position", "valid_length")]
        logits.append(engine.step(caches[step["cache"]], rows, False))
        crossings.append(Tensor.crossings)
        places.append(backend.on_device)
    np.savez(sys.argv[2], *logits, crossings=np.array(crossings), places=np.array(places))
    engine.close()


main()

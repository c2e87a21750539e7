"""Run by an interpreter that has MindSpore: save or load checkpoints with its own functions.

Each line of standard input is a JSON list, and is answered by what MindSpore prints and then a line
that begins with `DONE` or, behind a traceback, with `FAILED`:

    ["save", "TENSORS.npz", "FILE", "" or "append" or "safetensors" or "crc"]
    ["load", "FILE", "TENSORS.npz"]

In .npz files a bfloat16 tensor is called `NAME|bfloat16` and holds float32.
"""

import inspect
import json
import sys
import traceback

import mindspore
import numpy as np


def save(source, target, how=""):
    loaded = np.load(source)
    parameters = []
    for name in loaded.files:
        real, _, dtype = name.partition("|")
        dtype = getattr(mindspore, dtype) if dtype else None
        parameters.append({"name": real, "data": mindspore.Tensor(loaded[name], dtype)})
    options = {}
    if how == "append":
        options["append_dict"] = {"epoch_num": 3, "loss_scale": 65536.0, "note": "a text"}
    elif how == "safetensors":
        options["format"] = "safetensors"
    elif how == "crc":
        options["crc_check"] = True
    mindspore.save_checkpoint(parameters, target, **options)


def load(source, target):
    options = {}
    if "format" in inspect.signature(mindspore.load_checkpoint).parameters:
        options["format"] = source.rpartition(".")[2]
    tensors = {}
    for name, parameter in mindspore.load_checkpoint(source, **options).items():
        if parameter.dtype not in (mindspore.float32, mindspore.float16):
            name, parameter = name + "|bfloat16", parameter.astype(mindspore.float32)
        tensors[name] = parameter.asnumpy()
    np.savez(target, **tensors)


if __name__ == "__main__":
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            {"save": save, "load": load}[what](*arguments)
            print("\nDONE", flush=True)
        except Exception:
            traceback.print_exc(file=sys.stdout)
            print("\nFAILED", flush=True)

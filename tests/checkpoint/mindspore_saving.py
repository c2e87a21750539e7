"""Run by an interpreter that has MindSpore: save or load a checkpoint with its own functions.

    python mindspore_saving.py save TENSORS.npz FILE [append|safetensors|crc]
    python mindspore_saving.py load FILE TENSORS.npz

In .npz files a bfloat16 tensor is called `NAME|bfloat16` and holds float32.
"""

import inspect
import sys

import mindspore
import numpy as np


def save(source, target, how):
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
    if sys.argv[1] == "save":
        save(sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else "")
    else:
        load(sys.argv[2], sys.argv[3])

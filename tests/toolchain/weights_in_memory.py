"""Where the weights of a bundle's graphs lie in memory once the engine `mindspore` runs them."""

from __future__ import annotations

import json
import os

import numpy as np


def main(folder: str) -> dict:
    """Load every graph, run each once, and look.

    Returns:
        Parameter -> one [file, offset in the file, is what is read the file's bytes] a graph.
    """
    from glmlite_toolchain.engine import open_engine

    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    model, weights = manifest["model"], manifest["weights"]
    graphs = [
        dict(g, path=os.path.join(folder, g["file"]), dtype=weights["dtype"])
        for g in manifest["graphs"]
    ]
    job = {
        "engine": "mindspore",
        "graphs": graphs,
        "num_layers": model["num_layers"],
        "num_groups": model["num_groups"],
        "head_dim": model["head_dim"],
        "vocab_size": model["vocab_size"],
        "prefix_length": 0,
        "options": {"threads": 1},
    }
    engine = open_engine(job)
    for graph in graphs:
        rows = [
            np.zeros((1, graph["tokens"]), np.int32),
            np.zeros(1, np.int32),
            np.ones(1, np.int32),
        ]
        engine.step(engine.new_cache(), rows, graph["phase"] == "score")
    with open(os.path.join(folder, "weights", "index.json"), encoding="utf-8") as file:
        index = json.load(file)["tensors"]
    found = {name: [] for name in index}  # type: dict
    for graph in graphs:
        parameters = dict(engine.backend.load(graph).parameters_dict())
        for name, parameter in parameters.items():
            array = parameter.asnumpy()
            path, offset = _place(array.ctypes.data)
            with open(path or os.devnull, "rb") as file:
                file.seek(offset)
                same = file.read(array.nbytes) == array.tobytes()
            found[name].append([path, offset, same])
    return found


def _place(address: int) -> tuple:
    """The file that is mapped at an address, and the offset in it; "" where none is."""
    with open("/proc/self/maps") as file:
        for line in file:
            fields = line.split(None, 5)
            start, end = (int(part, 16) for part in fields[0].split("-"))
            if start <= address < end:
                path = fields[5].strip() if len(fields) == 6 else ""
                if not os.path.isfile(path):
                    return "", 0
                return path, int(fields[2], 16) + address - start
    return "", 0

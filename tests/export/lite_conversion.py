"""Runs in the toolchain: converts a standard ONNX bundle with MindSpore Lite and drives the result.

Called as `python lite_conversion.py JOB.json`; prints the largest difference of a logit for each
graph as JSON behind "FOUND". Imports nothing of glmlite.
"""

import json
import os
import sys
from pathlib import Path

import mindspore_lite as lite
import numpy as np

JOB = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
MODEL, BATCH, SLOTS, PREFIX = JOB["model"], JOB["batch"], JOB["slots"], JOB["prefix_length"]
CACHES = 2 * MODEL["num_layers"]
SHAPE = [BATCH, MODEL["num_groups"], SLOTS, MODEL["head_dim"]]
NAMES = [f"past.{i // 2}.{('key', 'value')[i % 2]}" for i in range(CACHES)]


def convert(source, tokens):
    """One phase's graph, opened."""
    target = os.path.join(JOB["folder"], f"{source[:-5]}_{tokens}")
    converter = lite.Converter()
    shapes = {"input_ids": [BATCH, tokens], "position": [BATCH], "valid_length": [BATCH]}
    shapes.update(dict.fromkeys(NAMES, SHAPE))
    converter.input_shape = shapes
    converter.save_type = lite.ModelType.MINDIR
    converter.optimize = "general"
    converter.convert(lite.FmkType.ONNX, source, target)
    context = lite.Context()
    context.target = ["cpu"]
    context.cpu.thread_num = 1
    model = lite.Model()
    model.build_from_file(target + ".mindir", lite.ModelType.MINDIR, context)
    return model


def step(model, ids, position, valid, cache):
    """Logits and the new cache."""
    given = {"input_ids": ids, "position": position, "valid_length": valid}
    given.update((name, cache[i]) for i, name in enumerate(NAMES))
    inputs = model.get_inputs()
    held = [np.ascontiguousarray(given[tensor.name]) for tensor in inputs]
    for i, tensor in enumerate(inputs):  # Python 3.7's zip is not strict
        tensor.set_data_from_numpy(held[i])
    logits, *present = [t.get_data_to_numpy().copy() for t in model.predict(inputs)]
    return logits, [array.reshape(SHAPE) for array in present]


def main():
    """Prefill and score in chunks of rows of different lengths, each followed by decoding."""
    arrays = np.load(JOB["arrays"])
    ids, wanted, prefix = arrays["ids"], arrays["logits"], arrays["prefix"]
    os.chdir(JOB["bundle"])  # external data is looked for in the working directory
    decode = convert("model.onnx", 1)
    worst = {"prefill": 0.0, "score": 0.0, "decode": 0.0}

    def compare(phase, found, expected):
        worst[phase] = max(worst[phase], float(np.abs(found - expected).max()))

    for phase, source, tokens in (("prefill", "model.onnx", 7), ("score", "score.onnx", 5)):
        graph = convert(source, tokens)
        cache = [np.zeros(SHAPE, np.float32) for _ in range(CACHES)]
        for i in range(CACHES if PREFIX else 0):
            cache[i][:, :, :PREFIX] = prefix[i // 2][i % 2]
        position = np.zeros(BATCH, np.int32)
        for length in (tokens, tokens, 3, tokens):
            # Each row lags two tokens behind the one before it, so that some idle.
            valid = np.array([max(0, length - 2 * row) for row in range(BATCH)], np.int32)
            chunk = np.full((BATCH, tokens), 9, np.int32)
            for row in range(BATCH):
                chunk[row, : valid[row]] = ids[position[row] : position[row] + valid[row]]
            logits, cache = step(graph, chunk, position, valid, cache)
            for row in np.flatnonzero(valid):
                rows = slice(position[row], position[row] + valid[row])
                if phase == "score":
                    found = logits.reshape(BATCH, tokens, -1)[row, : valid[row]]
                    compare(phase, found, wanted[rows])
                else:
                    compare(phase, logits[row], wanted[rows][-1])
            position = position + valid
        for _ in range(4):
            chunk, one = ids[position][:, None], np.ones(BATCH, np.int32)
            logits, cache = step(decode, chunk, position, one, cache)
            compare("decode", logits, wanted[position])
            position = position + one
    print("FOUND" + json.dumps(worst))


main()

"""Runs in an interpreter that has MindSpore: strategies and shards, written by MindSpore itself.

    python writing.py JOB.json

A CPU cannot compile for several devices, so the strategies are put together with MindSpore's own
protobuf classes; the slicing is `transform_checkpoints` from one whole checkpoint.
"""

import json
import os
import sys

import mindspore
import numpy as np
from mindspore.train.node_strategy_pb2 import ParallelStrategyMap


def write_strategy(path, layouts, stage, devices):
    """`layouts`: name -> tensor map; 0 marks the axis that is cut, -1 the others."""
    strategy = ParallelStrategyMap()
    strategy.current_stage = stage
    node = strategy.parallel_strategy_item.add()
    node.node_name = "node"
    node.parallel_strategys.stage = stage
    node.parallel_strategys.parallel_strategy.add().dim.append(devices)
    for name, tensor_map in layouts.items():
        item = strategy.parallel_layout_item.add()
        item.param_name = name
        layout = item.parallel_layouts
        layout.dev_matrix.add().dim.append(devices)
        layout.tensor_map.add().dim.extend(tensor_map)
        layout.param_split_shape.add()
        layout.indices_offset.add()
        layout.field = 0
        layout.opt_weight_shard_step = 0
        layout.opt_weight_shard_size = 0
    with open(path, "wb") as file:
        file.write(strategy.SerializeToString())


def main(job):
    folder, devices = job["folder"], job["devices"]
    os.makedirs(os.path.join(folder, "whole", "rank_0"))
    os.makedirs(os.path.join(folder, "strategy"))
    with np.load(job["arrays"]) as arrays:
        entries = [{"name": n, "data": mindspore.Tensor(arrays[n])} for n in arrays.files]
    mindspore.save_checkpoint(entries, os.path.join(folder, "whole", "rank_0", "whole.ckpt"))
    files = []
    for stage, layouts in enumerate(job["stages"]):
        files.append(os.path.join(folder, "strategy", f"ckpt_strategy_rank_{stage}.ckpt"))
        write_strategy(files[-1], layouts, stage, devices)
    strategy = files[0]
    if len(files) > 1:
        strategy = os.path.join(folder, "all_stages.ckpt")
        mindspore.merge_pipeline_strategys(os.path.join(folder, "strategy"), strategy)
    mindspore.transform_checkpoints(
        os.path.join(folder, "whole"), os.path.join(folder, "shards"), job["prefix"], None, strategy
    )


with open(sys.argv[1]) as file:
    main(json.load(file))

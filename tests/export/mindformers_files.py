"""Export YAMLs in MindFormers' terms for the demo model, written for the tests.

`EXPORT_08` has what a file of 0.8 has; `EXPORT_10` the many sections that one of 1.0 carries along.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

DEMO = Path(__file__).parents[2] / "glmlite" / "demo" / "checkpoint"

SIZES = """\
    num_layers: 3
    padded_vocab_size: 1248
    hidden_size: 160
    ffn_hidden_size: 352
    kv_channels: 32
    num_attention_heads: 4
    multi_query_attention: True
    multi_query_group_num: 2
    layernorm_epsilon: 1e-5
    add_qkv_bias: True
    add_bias_linear: False
    rmsnorm: True
    post_layer_norm: True
"""

EXPORT_08 = f"""\
# what to write
infer:
    prefill_model_path: "exported/demo_prefill_seq96.mindir"
    increment_model_path: "exported/demo_inc_seq96.mindir"
    infer_seq_length: 96  # the same as seq_length below
    model_type: mindir
model:
  model_config:
    type: ChatGLM2Config
    batch_size: 1
    seq_length: 96
{SIZES}    hidden_dropout: 0.0
    quantization_bit: 0
    pre_seq_len: 0
    param_init_type: "float32"
    compute_dtype: "float32"
    layernorm_compute_type: "float32"
    use_past: True
    eos_token_id: 2
    max_decode_length: 64
    is_sample_acceleration: False
    top_p: 0.7
    do_sample: True
    checkpoint_name_or_path: "weights/*.safetensors"
  arch:
    type: ChatGLM2ForConditionalGeneration
trainer:
  type: CausalLanguageModelingTrainer
  model_name: 'glm2_6b'
"""

EXPORT_10 = (
    "seed: 0\nrun_mode: 'train'\noutput_dir: './output'\nload_checkpoint: ''\n"
    'context:\n  device_target: "Ascend"\n  device_id: 0\n'
    + EXPORT_08.replace(
        "    use_past: True\n", "    use_past: True\n    pre_seq_len_: None\n"
    ).replace(
        "    do_sample: True\n",
        "    do_sample: True\n    rope_ratio: 1\n    use_flash_attention: False\n"
        "    no_recompute_layers: None\n    use_paged_attention: True\n    block_size: 16\n"
        "    num_blocks: 224\n    is_dynamic: True\n",
    )
    + """\
processor:
  return_tensors: ms
  tokenizer:
    type: ChatGLM2Tokenizer
    bos_token: '<sop>'
    vocab_file: "/path/to/tokenizer.model"
  type: GLMProcessor
train_dataset: &train_dataset
  batch_size: 8
  tokenizer:
    type: ChatGLM2Tokenizer
train_dataset_task:
  dataset_config: *train_dataset
runner_config:
  epochs: 1
lr_schedule:
  learning_rate: 5.e-5
use_parallel: False
parallel_config:
  model_parallel: 1
callbacks:
  - type: MFLossMonitor
"""
)


def write_workspace(folder: Path, yaml: str = EXPORT_08, *, config: bool = False) -> Path:
    """A folder as a MindFormers user has it: the YAML, and weights/ without a config.json."""
    weights = folder / "weights"
    weights.mkdir(parents=True)
    for path in DEMO.iterdir():
        if path.suffix in (".safetensors", ".model"):
            shutil.copyfile(path, weights / path.name)
    if config:
        shutil.copyfile(DEMO / "config.json", weights / "config.json")
    path = folder / "export.yaml"
    path.write_text(yaml, encoding="utf-8")
    return path


def demo_config() -> dict[str, object]:
    """The demo model's config.json."""
    return dict(json.loads((DEMO / "config.json").read_text(encoding="utf-8")))

"""Export YAMLs in MindFormers' terms for the demo model, written for the tests.

`EXPORT_08` has every key of configs/glm2/export_glm2_6b.yaml of 0.8; `EXPORT_10` those of
configs/glm3/export_glm3_6b_pa.yaml of 1.0, with the many sections that such a file carries along.
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
    attention_dropout: 0.0
    bias_dropout_fusion: True
    apply_residual_connection_post_layernorm: False
    apply_query_key_layer_scaling: True
    attention_softmax_in_fp32: True
    fp32_residual_connection: False
    quantization_bit: 0
    pre_seq_len: 0
    prefix_projection: False
    param_init_type: "float32"
    compute_dtype: "float32"
    layernorm_compute_type: "float32"
    use_past: True
    eos_token_id: 2
    pad_token_id: 0
    repetition_penalty: 1.0
    max_decode_length: 64
    is_sample_acceleration: False
    top_k: 1
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
    """\
seed: 0
run_mode: 'train'
output_dir: './output'
load_checkpoint: ''
src_strategy_path_or_dir: ''
auto_trans_ckpt: False
only_save_strategy: False
resume_training: False
context:
  mode: 0
  device_target: "Ascend"
  enable_graph_kernel: False
  graph_kernel_flags: "--disable_expand_ops=Softmax,Dropout --reduce_fuse_depth=8"
  max_call_depth: 10000
  max_device_memory: "59GB"
  save_graphs: False
  device_id: 0
remote_save_url: "Please input obs url on AICC platform."
"""
    + EXPORT_08.replace(
        "    use_past: True\n", "    use_past: True\n    pre_seq_len_: None\n"
    ).replace(
        "    do_sample: True\n",
        "    do_sample: True\n    rope_ratio: 1\n    use_flash_attention: False\n"
        "    no_recompute_layers: None\n    use_prompt_flash_attention: True\n"
        "    use_incre_flash_attention: False\n    use_kvcache_op: False\n"
        "    is_flexible_shape: False\n    use_paged_attention: True\n    block_size: 16\n"
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
eval_dataset: &eval_dataset
  batch_size: 8
  tokenizer:
    type: ChatGLM2Tokenizer
eval_dataset_task:
  dataset_config: *eval_dataset
do_eval: False
eval_step_interval: 500
eval_epoch_interval: -1
metric:
  type: ADGENMetric
runner_config:
  epochs: 1
  sink_size: 4
runner_wrapper:
  type: MFTrainOneStepCell
  scale_sense:
    loss_scale_value: 65536
lr_schedule:
  type: polynomial
  learning_rate: 5.e-5
  lr_end: 1.e-6
layer_scale: False
layer_decay: 0.65
optimizer:
  type: FP32StateAdamWeightDecay
  eps: 1.e-8
lr_scale: False
lr_scale_factor: 256
use_parallel: False
parallel:
  parallel_mode: 1
  strategy_ckpt_config:
    save_file: "./ckpt_strategy.ckpt"
parallel_config:
  model_parallel: 1
  vocab_emb_dp: True
micro_batch_interleave_num: 1
moe_config:
  expert_num: 1
recompute_config:
  recompute: True
auto_tune: False
filepath_prefix: './autotune'
autotune_per_step: 10
profile: False
profile_start_step: 1
profile_stop_step: 10
init_start_profile: True
profile_communication: True
profile_memory: True
callbacks:
  - type: MFLossMonitor
eval_callbacks:
  - type: ObsMonitor
    keep_last: False
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

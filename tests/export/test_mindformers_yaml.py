"""MindFormers' export YAMLs as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmlite.errors import ConfigError
from glmlite.exporter.config import load_config
from glmlite.exporter.mindformers_yaml import output_folder
from glmlite.exporter.plan import make_plan
from glmlite.model.config import from_huggingface
from tests.export.mindformers_files import EXPORT_08, EXPORT_10, demo_config, write_workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Writes a workspace and makes it the current directory."""

    def write(yaml: str = EXPORT_08, **options: bool) -> Path:
        monkeypatch.chdir(tmp_path)
        return write_workspace(tmp_path, yaml, **options)

    return write


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize("yaml", [EXPORT_08, EXPORT_10], ids=["0.8", "1.0"])
def test_a_file_becomes_a_recipe(workspace, yaml):
    config = load_config(workspace(yaml))
    assert str(config.model.checkpoint) == "weights/model.safetensors"
    assert config.model.family == "glm2"
    assert config.model.dtype == "float32"
    assert str(config.model.tokenizer) == "weights/tokenizer.model"
    assert str(config.export.output) == "exported"
    assert config.export.cache_length == (96,)
    assert config.export.prefill_tokens == (32,)
    assert config.export.batch_size == 1


@pytest.mark.parametrize("yaml", [EXPORT_08, EXPORT_10], ids=["0.8", "1.0"])
def test_the_network_is_the_one_that_config_json_describes(workspace, yaml):
    plan = make_plan(load_config(workspace(yaml)))
    assert plan.model == from_huggingface({**demo_config(), "seq_length": 32768})
    assert plan.family == "glm2"


def test_what_has_no_meaning_is_said(workspace):
    remarks = "\n".join(load_config(workspace(EXPORT_10)).remarks)
    for key in ("is_sample_acceleration", "top_p", "eos_token_id", "use_paged_attention"):
        assert f"{key}" in remarks
    assert "/path/to/tokenizer.model" in remarks
    assert "exported" in remarks
    last = remarks.splitlines()[-1]
    for key in ("lr_schedule", "train_dataset", "callbacks", "runner_config"):
        assert key in last
    assert "num_layers" not in remarks


def test_overrides_win_and_nothing_is_asked_of_the_file_then(workspace):
    yaml = EXPORT_08.replace("weights/*.safetensors", "glm2_6b").replace('"float32"', '"bfloat16"')
    path = workspace(yaml.replace("infer_seq_length: 96", "infer_seq_length: 128"))
    assert "infer_seq_length is 128, model.model_config.seq_length is 96" in refusal(
        path, "model.checkpoint=weights", "model.dtype=float32"
    )
    config = load_config(
        path,
        [
            "model.checkpoint=weights",
            "model.dtype=float32",
            "export.cache_length=64",
            "export.output=elsewhere",
        ],
    )
    assert config.export.cache_length == (64,)
    assert str(config.export.output) == "elsewhere"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("infer_seq_length: 96", "infer_seq_length: 128", "MindFormers needs them equal"),
        ("seq_length: 96\n", "seq_length: -1\n", "whole number"),
        ("batch_size: 1", "batch_size: some", "model.model_config.batch_size is 'some'"),
        ('compute_dtype: "float32"', 'compute_dtype: "bfloat16"', "float16 or float32"),
        ("model_type: mindir", "model_type: mindir_lite", "infer.model_type"),
        ("'glm2_6b'", "'glm3_6b'", "trainer.model_name says glm3"),
        ("'glm2_6b'", "'llama2_7b'", "no ChatGLM2 or ChatGLM3"),
        ("'glm2_6b'", "'glm_6b'", "no ChatGLM2 or ChatGLM3"),
        ("ChatGLM2ForConditionalGeneration", "LlamaForCausalLM", "model.arch.type"),
        ("type: ChatGLM2Config", "type: LlamaConfig", "model.model_config.type"),
        ("rmsnorm: True", "rmsnorm: False", "model.model_config.rmsnorm is False"),
        ("num_layers: 3", "num_layers: three", "model.model_config.num_layers is 'three'"),
        ("rope_ratio: 1\n", "rope_ratio: 16\n", "model.rope.kind=base"),
        ("weights/*.safetensors", "glm2_6b", "would download"),
        ("weights/*.safetensors", "weights/*", "fits 2 files"),
        ("weights/*.safetensors", "/path/to/your/*.ckpt", "fits 0 files"),
        ("load_checkpoint: ''", "load_checkpoint: 'other/model.ckpt'", "Say which is meant"),
        ("    do_sample: True", "    pet_config: {pet_type: adalora}\n", "lora | ptuning2"),
    ],
)
def test_contradictions_and_unusable_values(workspace, old, new, said):
    assert old in EXPORT_10
    text = refusal(workspace(EXPORT_10.replace(old, new, 1)))
    assert said in text
    assert "export.yaml" in text


def test_sizes_that_contradict_config_json(workspace):
    yaml = EXPORT_08.replace("weights/*.safetensors", "weights")
    assert make_plan(load_config(workspace(yaml, config=True))).model.num_layers == 3
    Path("export.yaml").write_text(yaml.replace("num_layers: 3", "num_layers: 4"), "utf-8")
    with pytest.raises(ConfigError, match=r"num_layers is 4, but config.json .* says 3"):
        make_plan(load_config(Path("export.yaml")))


def test_rope_ratio_of_a_glm3_is_the_base(workspace):
    yaml = EXPORT_10.replace("rope_ratio: 1\n", "rope_ratio: 50\n")
    yaml = yaml.replace("'glm2_6b'", "'glm32k'").replace("ChatGLM2Tokenizer", "ChatGLM3Tokenizer")
    plan = make_plan(load_config(workspace(yaml)))
    assert (plan.model.rope.kind, plan.model.rope.ratio) == ("base", 50)
    assert plan.family == "glm3"


def test_rope_ratio_of_a_glm2_is_the_users_to_say(workspace):
    path = workspace(EXPORT_10.replace("rope_ratio: 1\n", "rope_ratio: 16\n"))
    plan = make_plan(load_config(path, ["model.rope={kind: linear, ratio: 16}"]))
    assert (plan.model.rope.kind, plan.model.rope.ratio) == ("linear", 16)


def test_lora_beside_the_weights(workspace):
    lora = "    pet_config:\n      pet_type: lora\n      lora_rank: 8\n      lora_alpha: 16\n"
    config = load_config(workspace(EXPORT_08.replace("    top_p: 0.7\n", lora)))
    (adapter,) = config.model.adapters
    assert adapter.path == config.model.checkpoint
    assert adapter.alpha == 16


def test_defaults_are_those_of_the_6b_model(workspace):
    small = "model:\n  model_config:\n    type: ChatGLM2Config\n    seq_length: 512\n"
    trainer = "trainer: {model_name: glm3_6b}\n"
    config = load_config(workspace(small + trainer), {"checkpoint": "weights", "output": "out"})
    assert config.model.sizes.config["num_layers"] == 28
    assert config.model.dtype == "float16"
    assert config.export.prefill_tokens == (32, 256)
    assert "output is not set" in refusal(Path("export.yaml"), "model.checkpoint=weights")


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("glm2_export/glm2_6b_prefill_seq512.mindir", "glm2_export"),
        ("/data/x/prefill.mindir", "/data/x"),
        ("dir.mindir", "dir"),  # rstrip(".mindir") would have made it empty
        ("./indri.mindir", "indri"),
        ("prefill", "prefill"),
    ],
)
def test_where_the_bundle_goes(path, folder):
    assert output_folder(path).removeprefix("./") == folder

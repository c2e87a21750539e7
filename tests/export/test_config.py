"""Export recipes: what they may say, and how they say what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmlite.errors import ConfigError
from glmlite.exporter.config import Adapter, ParityCheck, load_config
from glmlite.exporter.keys import KNOWN
from glmlite.exporter.recipes import find_recipe, list_recipes
from glmlite.exporter.resolve import resolve_model
from glmlite.model.config import RopeConfig
from glmlite.model.presets import PRESETS

MINIMAL = {"model": {"checkpoint": "in"}, "export": {"output": "out"}}

# What the official config.json of every 6B model says, less the keys that do not matter here.
OFFICIAL = {
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "ffn_hidden_size": 13696,
    "hidden_size": 4096,
    "kv_channels": 128,
    "layernorm_epsilon": 1e-05,
    "model_type": "chatglm",
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 32,
    "num_layers": 28,
    "padded_vocab_size": 65024,
    "seq_length": 32768,
}


def loaded(**overrides):
    return load_config(MINIMAL, {key.replace("__", "."): v for key, v in overrides.items()})


@pytest.mark.parametrize("name", ["glm2_6b", "glm2_6b_32k", "glm3_6b", "glm3_6b_32k"])
def test_shipped_recipes(name):
    config = load_config(name)
    preset = PRESETS[name]
    assert resolve_model(config.model, None).config == preset.config
    assert resolve_model(config.model, None).family == preset.family
    # The official config.json of the same model agrees with the recipe and with the preset.
    raw = {
        **OFFICIAL,
        "seq_length": preset.config.seq_length,
        "_name_or_path": f"THUDM/chat{name.replace('_', '-')}",
    }
    if preset.config.rope.ratio != 1:
        raw["rope_ratio"] = int(preset.config.rope.ratio)
    resolved = resolve_model(config.model, raw)
    assert resolved.config == preset.config
    assert resolved.family == preset.family
    assert name in list_recipes("export_configs")
    assert find_recipe("export_configs", name) == find_recipe("export_configs", f"{name}.yaml")


@pytest.mark.parametrize("name", ["glm2_6b", "glm2_6b_32k", "glm3_6b", "glm3_6b_32k"])
def test_shipped_recipes_show_every_key(name):
    content = find_recipe("export_configs", name).read_text(encoding="utf-8")
    for key in KNOWN:
        leaf = key.rpartition(".")[2]
        if leaf not in ("flavor", "rope", "kind", "ratio"):
            assert f"{leaf}:" in content


@pytest.mark.parametrize("name", ["glm2_6b", "glm3_6b"])
def test_onnx_recipes_are_the_same_models(name):
    config = load_config(f"{name}_onnx")
    assert (config.export.format, config.export.flavor) == ("onnx", "ort")
    assert config.model.family == load_config(name).model.family
    assert resolve_model(config.model, None).config == PRESETS[name].config
    content = find_recipe("export_configs", f"{name}_onnx").read_text(encoding="utf-8")
    for key in KNOWN:
        leaf = key.rpartition(".")[2]
        assert f"{leaf}:" in content or leaf in ("rope", "kind", "ratio")


def test_defaults():
    config = load_config(MINIMAL)
    assert config.model.checkpoint == Path("in")
    assert config.model.dtype == "float32"
    assert config.export.format == "mindir"
    assert config.export.flavor is None
    assert config.export.cache_length == (2048,)
    assert config.export.prefill_tokens == (128,)
    assert config.export.score_tokens is None
    assert config.export.parity == ParityCheck("full")
    assert loaded(format="onnx").export.flavor == "ort"


def test_set_values_are_yaml():
    config = load_config(
        MINIMAL,
        [
            "export.cache_length=[2048, 512, 512]",
            "export.prefill_tokens=32",
            "export.parity=layers:3",
            "export.score_tokens=16",
            "model.rope.kind=linear",
            "model.rope.ratio=16",
            "model.adapter=[{path: a, weight: 0.5}, {path: b}]",
            "model.tokenizer=a=b.model",
        ],
    )
    assert config.export.cache_length == (512, 2048)
    assert config.export.prefill_tokens == (32,)
    assert config.export.parity == ParityCheck("layers", 3)
    assert str(config.export.parity) == "layers:3"
    assert config.export.score_tokens == 16
    assert config.model.rope == RopeConfig("linear", 16.0)
    assert config.model.adapters == (Adapter(Path("a"), 0.5), Adapter(Path("b"), 1.0))
    assert config.model.tokenizer == Path("a=b.model")
    assert load_config(MINIMAL, ["export.parity=off"]).export.parity == ParityCheck("off")
    assert load_config(MINIMAL, ["model.rope=null"]).model.rope is None


def test_python_overrides_may_be_short_or_nested():
    config = load_config(
        "glm2_6b", {"checkpoint": Path("x"), "export": {"batch_size": 3}, "model.dtype": "float16"}
    )
    assert config.model.checkpoint == Path("x")
    assert config.export.batch_size == 3
    assert config.model.dtype == "float16"
    assert config.export.prefill_tokens == (32, 256)


def test_overrides_leave_the_given_mapping_alone():
    given = {"model": {"checkpoint": "a", "rope": {"kind": "standard"}}, "export": {"output": "b"}}
    load_config(given, ["model.rope.kind=base", "model.rope.ratio=2"])
    assert given["model"]["rope"] == {"kind": "standard"}


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("export.cache_len=3", "export.cache_length"),
        ("export.dtype=float16", "model.dtype"),
        ("model.chekpoint=x", "model.checkpoint"),
        ("batch_size=2", "export.batch_size"),
        ("model.rope.ration=2", "model.rope.ratio"),
    ],
)
def test_unknown_keys_name_the_nearest(override, names, tmp_path):
    with pytest.raises(ConfigError) as error:
        load_config(MINIMAL, [override])
    assert f"did you mean {names}?" in str(error.value)


def test_unknown_key_in_a_file_names_the_file(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("model: {checkpoint: a}\nexport: {output: b, bach_size: 2}\n")
    with pytest.raises(ConfigError) as error:
        load_config(recipe)
    assert "mine.yaml" in str(error.value)
    assert "export.bach_size" in str(error.value)
    assert "did you mean export.batch_size?" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 0),
        ("batch_size", True),
        ("batch_size", 1.0),
        ("batch_size", "2"),
        ("cache_length", []),
        ("cache_length", [512, 0]),
        ("cache_length", 2**40),
        ("prefill_tokens", [True]),
        ("score_tokens", -1),
        ("format", "gguf"),
        ("flavor", "other"),
        ("parity", "layers:0"),
        ("parity", "layers:１"),
        ("parity", True),
        ("dtype", "bfloat16"),
        ("family", "glm4"),
        ("checkpoint", ""),
        ("checkpoint", "a\0b"),
        ("checkpoint", 3),
        ("preset", 1),
        ("adapter", [{"weight": 1}]),
        ("adapter", [{"path": "a", "weight": 0}]),
        ("adapter", [{"path": "a", "wait": 1}]),
        ("rope", {"kind": "linear"}),
        ("rope", {"kind": "linear", "ratio": float("inf")}),
        ("rope", {"kind": "standard", "ratio": 2}),
        ("rope", {"kind": "yarn", "ratio": 2}),
        ("rope", {}),
    ],
)
def test_wrong_values_name_their_key(key, value):
    with pytest.raises(ConfigError) as error:
        loaded(**{key: value})
    assert f".{key}" in str(error.value)


def test_chunks_fit_into_the_shortest_cache():
    with pytest.raises(ConfigError, match="prefill_tokens is 256"):
        loaded(prefill_tokens=[32, 256], cache_length=[128, 512])
    with pytest.raises(ConfigError, match="score_tokens is 64"):
        loaded(score_tokens=64, prefill_tokens=8, cache_length=32)
    assert loaded(prefill_tokens=32, cache_length=32).export.prefill_tokens == (32,)


def test_flavor_belongs_to_onnx():
    with pytest.raises(ConfigError, match="only onnx"):
        loaded(flavor="ort")


def test_checkpoint_and_output_are_required():
    with pytest.raises(ConfigError, match="--checkpoint"):
        load_config({"export": {"output": "x"}})
    with pytest.raises(ConfigError, match="--output"):
        load_config({"model": {"checkpoint": "x"}})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just text",
        "- 1\n- 2\n",
        "model: [1",
        "model: {checkpoint: a}\nmodel: {checkpoint: b}\n",
        "model: {checkpoint: a, checkpoint: b}\n",
        "model: !!python/object/apply:os.system ['true']\n",
        "? [1, 2]\n: 3\n",
        "1: 2\n",
        "model: 3\n",
        "model:\n  rope: linear\n",
        "x: 2023-99-99\n",
        "[" * 5000,
        "a: &a [*a]\n",
        "model:\n\tcheckpoint: x\n",
        "run_mode: export\n",
        "model: {model_config: {type: GLMConfig}, arch: {type: GLM}}\n",
    ],
)
def test_hostile_files(tmp_path, content):
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(recipe)
    assert "bad.yaml" in str(error.value)


def test_unreadable_files(tmp_path):
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(binary)
    large = tmp_path / "l.yaml"
    large.write_text("#" * (1 << 21))
    with pytest.raises(ConfigError, match="too large"):
        load_config(large)


def test_yaml_errors_have_a_line(tmp_path):
    recipe = tmp_path / "twice.yaml"
    recipe.write_text("model:\n  family: glm2\n  family: glm3\n")
    with pytest.raises(ConfigError, match=r"twice\.yaml, line 3: family occurs twice"):
        load_config(recipe)


def test_mindformers_is_told_apart(tmp_path):
    recipe = tmp_path / "run_glm2.yaml"
    recipe.write_text("seed: 0\nrun_mode: predict\nmodel: {model_config: {}}\n")
    with pytest.raises(ConfigError, match=r"model\.model_config\.checkpoint_name_or_path"):
        load_config(recipe)

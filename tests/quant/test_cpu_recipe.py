"""Recipes for CPUs: what ships, what is refused, and what becomes of each matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from glmlite.errors import ConfigError
from glmlite.exporter.recipes import list_recipes
from glmlite.model.parameters import EMBEDDING, OUTPUT, layer_prefix
from glmlite.model.presets import PRESETS
from glmlite.quant.cpu_recipe import is_cpu_recipe, load_cpu_recipe, parse_cpu_recipe

GLM2 = PRESETS["glm2_6b"].config
DOWN = layer_prefix(3) + "mlp.dense_4h_to_h.weight"


def parse(text: str) -> Any:
    return parse_cpu_recipe(yaml.safe_load(text), "mine", "mine.yaml")


def test_what_ships() -> None:
    kinds = {name: is_cpu_recipe(name) for name in list_recipes("quant")}
    assert {name for name, cpu in kinds.items() if cpu} == {
        "cpu_int8",
        "cpu_w8a8",
        "cpu_int4",
        "cpu_int4_w8a8",
    }
    for name in (n for n, cpu in kinds.items() if cpu):
        recipe = load_cpu_recipe(name)
        first, second = recipe.resolve(GLM2)
        assert len(first) == 4 * GLM2.num_layers + 2
        assert (first[EMBEDDING].scheme, first[OUTPUT].bits) == ("row", 8)
        assert first[DOWN].scheme == ("column" if name == "cpu_w8a8" else "block")
        assert first[DOWN].bits == {"cpu_int8": 8, "cpu_w8a8": 7}.get(name, 4)
        assert (second is not None) == (name == "cpu_int4_w8a8")
        if second:
            assert second[EMBEDDING].scheme == second[OUTPUT].scheme == "share"
            assert second[DOWN].scheme == "column"
        assert recipe.text.startswith("# ")


def test_the_first_pattern_that_matches_counts() -> None:
    recipe = parse(
        """
        scheme: block
        bits: 4
        block_size: 32
        method: activation_aware
        tensors:
          "*.layers.3.mlp.*": {bits: 8}
          "*.dense_4h_to_h.weight": {keep: float32}
          "*.layers.0.*": {scheme: column, smoothing: false}
        """
    )
    first, _ = recipe.resolve(GLM2)
    assert (first[DOWN].scheme, first[DOWN].bits, first[DOWN].block_size) == ("block", 8, 32)
    assert first[DOWN].method == "activation_aware"
    assert first[layer_prefix(0) + "mlp.dense_4h_to_h.weight"].scheme == "float32"
    query = first[layer_prefix(0) + "self_attention.query_key_value.weight"]
    # What stands above is for blocks.
    assert (query.scheme, query.bits, query.method) == ("column", 7, "mse")
    assert not query.needs_calibration
    assert first[DOWN].needs_calibration


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "scheme is missing"),
        ("{bits: 4}", "scheme is missing"),
        ("{scheme: blocks}", "block | column"),
        ("{scheme: block, bit: 4}", "did you mean bits"),
        ("{scheme: block, tensor: {}}", "did you mean tensors"),
        ("{scheme: block, bits: 7}", "4 | 8"),
        ("{scheme: block, bits: true}", "4 | 8"),
        ("{scheme: column, bits: 4}", "7 | 8"),
        ("{scheme: block, block_size: 48}", "16 | 32"),
        ("{scheme: block, symmetric: 1}", "true | false"),
        ("{scheme: block, method: gptq}", "round | mse | activation_aware"),
        ("{scheme: block, accuracy_level: 5}", "accuracy_level is 5; it must be 0 | 1 | 4."),
        ("{scheme: block, accuracy_level: 2}", "accuracy_level is 2; it must be 0 | 1 | 4."),
        ("{scheme: block, accuracy_level: 3}", "accuracy_level is 3; it must be 0 | 1 | 4."),
        ("{scheme: block, accuracy_level: true}", "it must be 0 | 1 | 4."),
        ("{scheme: block, smoothing: true}", "left out: scheme block"),
        ("{scheme: column, outliers: -1}", "outliers"),
        ("{scheme: block, tensors: [a]}", "mapping"),
        ("{scheme: block, tensors: {'*': 3}}", "mapping"),
        ("{scheme: block, tensors: {'*': {bitz: 4}}}", "did you mean bits"),
        ("{scheme: block, tensors: {'*': {keep: float16}}}", "float32"),
        ("{scheme: block, tensors: {'*': {keep: float32, bits: 4}}}", "keep alone"),
        (
            "{scheme: block, tensors: {'*': {share: true}}}",
            "tensors.*.share stands outside prefill",
        ),
        ("{scheme: block, prefill: 1}", "mapping"),
        (
            "{scheme: block, prefill: {scheme: block, prefill: {}}}",
            "prefill.prefill stands where prefill cannot; it belongs at the top",
        ),
        ("{scheme: block, keep: float32}", "it belongs below a pattern of tensors"),
        ("{scheme: block, tensors: {'*': {tensors: {}}}}", "it belongs at the top of the recipe"),
        ("{scheme: block, foo: 1}", "there is no key foo.\nAll keys: scheme, bits"),
        ("{scheme: null}", "scheme is missing; it says how matrices are stored: block | column."),
        ("{scheme: row}", "scheme is 'row'; it must be block | column."),
        ("{scheme: block, tensors: {'*': {scheme: rows}}}", "must be block | column | row."),
        (
            "{scheme: block, prefill: {scheme: column, tensors: {'*': {share: 1}}}}",
            "share is 1; it must be true",
        ),
    ],
)
def test_unknown_keys_and_values(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse(text)
    assert "mine.yaml" in str(found.value)
    assert said in str(found.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{scheme: block, tensors: {'*.layer.0.*': {bits: 8}}}", "'\\*.layer.0.\\*' of tensors"),
        ("{scheme: block, tensors: {'*.layers.28.*': {bits: 8}}}", "matches no matrix"),
        # Matrices alone are quantized, so these would change nothing.
        ("{scheme: block, tensors: {'*layernorm*': {bits: 8}}}", "matches no matrix"),
        ("{scheme: block, tensors: {'*bias*': {bits: 8}}}", "'\\*bias\\*' of tensors matches no"),
        (
            "{scheme: block, tensors: {'*.mlp.*': {bits: 8}, '*4h_to_h*': {keep: float32}}}",
            "'\\*4h_to_h\\*' of tensors is hidden by '\\*.mlp.\\*' before it",
        ),
        (
            "{scheme: block, tensors: {'*.mlp.*': {bits: 8}, '*.self*': {bits: 8}, "
            "'*.layers.2.*': {bits: 8}}}",
            "hidden by '\\*.mlp.\\*', '\\*.self\\*' before",
        ),
        (
            "{scheme: block, prefill: {scheme: column, tensors: {'*': {share: true}, "
            "'*output*': {share: true}}}}",
            "of prefill.tensors is hidden",
        ),
        (
            "{scheme: block, prefill: {scheme: column, tensors: {'*embed*': {keep: float32}}}}",
            "prefill shares the embedding",
        ),
        ("{scheme: block, tensors: {'*': {keep: float32}}}", "quantizes no weight"),
        (
            "{scheme: block, tensors: {'*': {keep: float32}}, "
            "prefill: {scheme: block, tensors: {'*': {share: true}}}}",
            "quantizes no weight",
        ),
        (
            "{scheme: block, prefill: {scheme: column, tensors: {nothing: {share: true}}}}",
            "'nothing' of prefill.tensors",
        ),
        ("{scheme: block, tensors: {'*mlp*': {scheme: row}}}", "cannot be stored as row"),
        ("{scheme: block, tensors: {'*': {bits: 8}}}", "cannot be stored as block"),
        (
            "{scheme: block, prefill: {scheme: column, tensors: {'*4h_to_h*': {share: true}}}}",
            "they go together",
        ),
    ],
)
def test_what_does_not_fit_the_model(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text).resolve(GLM2)


def test_the_embedding_of_prefill_is_shared_whatever_is_said() -> None:
    for said in ("'*embedding*': {share: true}", "'*': {scheme: column}"):
        recipe = parse(f"{{scheme: block, prefill: {{scheme: block, tensors: {{{said}}}}}}}")
        _, second = recipe.resolve(GLM2)
        assert second[EMBEDDING].scheme == "share"


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("scheme: block\n# mine\n")
    assert load_cpu_recipe(path).name == "own"
    assert "# mine" in load_cpu_recipe(path).text
    for text in ("", "- a", "scheme: block\nscheme: row", "a: b: c", "\x00"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"own\.yaml"):
            load_cpu_recipe(path)
    path.write_text("")
    with pytest.raises(ConfigError, match="such as quant/cpu_int4"):
        load_cpu_recipe(path)
    for name in ("ascend_on_the_fly_quant", "lite_cpu_int8"):
        with pytest.raises(ConfigError, match="not for CPUs\\.\\nRecipes for CPUs: cpu_int4"):
            load_cpu_recipe(name)
    with pytest.raises(ConfigError, match="Did you mean cpu_int"):
        load_cpu_recipe("cpu_int5")

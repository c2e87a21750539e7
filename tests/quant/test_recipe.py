from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from glmlite.errors import ConfigError
from glmlite.exporter.recipes import list_recipes
from glmlite.model.parameters import EMBEDDING, OUTPUT, parameter_shapes
from glmlite.model.presets import PRESETS
from glmlite.quant.keys import GLMLITE_SECTION, KEYS
from glmlite.quant.recipe import load_recipe, parse_sections
from tests.engines.bundles import Bundles

SHIPPED = sorted(n for n, path in list_recipes("quant").items() if path.suffix == ".cfg")
ASCEND = [name for name in SHIPPED if name.startswith("ascend")]
GLM2 = PRESETS["glm2_6b"].config


def test_what_ships() -> None:
    assert "ascend_on_the_fly_quant" in ASCEND
    assert len(ASCEND) == 6
    cpus = {"cpu_int8", "cpu_w8a8", "cpu_int4", "cpu_int4_w8a8"}
    assert set(list_recipes("quant")) - set(ASCEND) == {"lite_cpu_int8"} | cpus


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_key_is_documented(name: str) -> None:
    sections = parse_sections(list_recipes("quant")[name].read_text(encoding="utf-8"), name)
    for section, values in sections.items():
        for key, value in values.items():
            assert KEYS[section][key].accepts(value), (section, key, value)
    assert load_recipe(name).name == name


def test_the_plain_recipe_is_the_whole_documented_config() -> None:
    sections = {k: dict(v) for k, v in load_recipe("ascend_on_the_fly_quant").sections.items()}
    assert sections == {
        "common_quant_param": {
            "quant_type": "WEIGHT_QUANT",
            "bit_num": "8",
            "min_quant_weight_size": "5000",
            "min_quant_weight_channel": "5",
        },
        "weight_quant_param": {
            "dequant_strategy": "ON_THE_FLY",
            "per_channel": "True",
            "bias_correction": "False",
        },
        "ascend_context": {"provider": "ge"},
    }


@pytest.mark.parametrize("name", ASCEND)
def test_chips_and_the_output_layer(name: str) -> None:
    recipe = load_recipe(name)
    plain = "910a" in name or "310p" in name
    assert recipe.optimize == ("ascend_oriented" if plain else "ascend_oriented:910b")
    names = recipe.quantized_names(GLM2)
    assert EMBEDDING not in names
    assert (OUTPUT in names) == (not name.endswith("float_output"))
    assert len(names) == 4 * 28 + (OUTPUT in names)
    assert GLMLITE_SECTION not in recipe.config_text(())


def test_limits_are_the_converters(tmp_path: Path) -> None:
    recipe = load_recipe("ascend_on_the_fly_quant")
    assert not recipe.is_quantized("a", (50, 100))
    assert recipe.is_quantized("a", (51, 100))
    assert not recipe.is_quantized("a", (5, 10000))
    assert not recipe.is_quantized("a", (10000,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[common_quant_parm]\n", r"\[common_quant_parm\]; did you mean \[common_quant_param\]"),
        ("[common_quant_param]\nbits=8\n", r"bits; did you mean"),
        ("[common_quant_param]\nbit_num=4\n", "bit_num is '4'; it must be 8"),
        ("[common_quant_param]\nbit_num=8 # no comment\n", "bit_num is '8 # no comment'"),
        ("bit_num=8\n", "line 1"),
        ("[common_quant_param]\nbit_num=8\nbit_num=8\n", "line 3"),
        ("[common_quant_param]\nnonsense\n", "line 2"),
        ("[ascend_context]\nprovider=acl\n", "provider is 'acl'"),
        ("[common_quant_param]\nquant_type=WEIGHT_QUANT\nbit_num=8\n", "do not load"),
        ("", "do not load"),
    ],
)
def test_bad_recipes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.cfg"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_recipe(path)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    path = tmp_path / "bad.cfg"
    path.write_bytes(b"\xff\xfe[common")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(path)
    path.write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="too large"):
        load_recipe(path)
    with pytest.raises(ConfigError, match="Did you mean ascend_on_the_fly_quant"):
        load_recipe("ascend_on_the_fly_quan")


def test_a_weight_that_does_not_exist_is_refused(small_recipe) -> None:
    recipe = load_recipe(small_recipe("skip_quant_node=transformer.output_laier.weight"))
    with pytest.raises(ConfigError, match="output_laier"):
        recipe.quantized_names(GLM2)


def test_small_models_need_lower_limits() -> None:
    import dataclasses

    config = dataclasses.replace(
        GLM2, hidden_size=8, ffn_hidden_size=8, num_heads=2, num_groups=2, head_dim=4, vocab_size=64
    )
    assert max(parameter_shapes(config)) is not None
    with pytest.raises(ConfigError, match="quantizes no weight"):
        load_recipe("ascend_on_the_fly_quant").quantized_names(config)


_PARSE = """
import sys, mindspore_lite as lite
c = lite.Converter()
c.convert(lite.FmkType.MINDIR, sys.argv[1], sys.argv[2], config_file=sys.argv[3])
"""


def refusals(toolchain: str, graph: Path, config: Path, folder: Path) -> set[str]:
    """Keys that Lite 2.0.0's own parser says it does not support."""
    result = subprocess.run(
        [toolchain, "-c", _PARSE, str(graph), str(folder / "out"), str(config)],
        env={"PYTHONNOUSERSITE": "1", "PATH": "/usr/bin:/bin", "GLOG_v": "2"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    output = result.stdout + result.stderr
    illegal = set(re.findall(r"INPUT ILLEGAL: (.*)", output))
    unknown = {key for line in illegal for key in re.findall(r"`(\w+)` is not supported", line)}
    assert len(unknown) == len(illegal), illegal  # values that it knows are all right
    return unknown


def test_lite_2_0_parses_every_key_that_it_knows(
    toolchain: str, tiny: Path, tmp_path: Path
) -> None:
    """All but what came later; each key alone, for the parser ends at the first it refuses."""
    graph = tiny / "decode_t1_s96_b1.mindir"
    for name in ("ascend_on_the_fly_quant_float_output", "lite_cpu_int8"):
        sections = load_recipe(name).sections
        late = {k for s, keys in KEYS.items() for k, v in keys.items() if v.since != "2.0"}
        found = set()
        for section, values in sections.items():
            for key in values if section == "weight_quant_param" else ():
                config = tmp_path / "one.cfg"
                common = "".join(f"{k}={v}\n" for k, v in sections["common_quant_param"].items())
                config.write_text(
                    f"# a comment\n[common_quant_param]\n{common}\n"
                    f"[{section}]\n{key}={values[key]}\n[glmlite]\noptimize=general\n"
                )
                found |= refusals(toolchain, graph, config, tmp_path)
        used = {key for values in sections.values() for key in values}
        assert found == late & used, name
    config.write_text("[common_quant_param]\nquant_type=DYNAMIC_QUANT\nbit_num=8\nfoo=1\n")
    assert refusals(toolchain, graph, config, tmp_path) == {"foo"}


def test_recipes_travel_in_the_wheel(bundles: Bundles) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"quant" = "glmlite/recipes/quant"' in text

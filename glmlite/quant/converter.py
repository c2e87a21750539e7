"""Which converter there is, and the exact command that quantizes one graph with it.

Two carry the same flags: `converter_lite` of a MindSpore Lite package, and (for wheels, which lack
it) `glmlite/toolchain/convert.py` in the toolchain's interpreter. Source of environment and flags:
MindSpore Lite, "Model Converter Tool" and "Ascend ON_THE_FLY quantization".
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path

import glmlite.toolchain
from glmlite.errors import ExportError, NoConverterError
from glmlite.quant.recipe import QuantRecipe
from glmlite.runtime.engines.interpreter import (
    Interpreter,
    clean_environment,
    find_toolchain,
)
from glmlite.toolchain.mindir import MindIRError
from glmlite.toolchain.mindir_nodes import readers

TOOL = Path("tools/converter/converter/converter_lite")
LIBRARIES = (
    Path("runtime/lib"),
    Path("tools/converter/lib"),
    Path("runtime/third_party/dnnl"),
)
# Where people keep the package's root, as MindFormers' pages and Lite's own documents name it.
ROOT_VARIABLES = ("PACKAGE_ROOT", "PACKAGE_ROOT_PATH", "LITE_HOME")
PACKAGE = "mindspore-lite-VERSION-linux-ARCH"
_SCRIPT = Path(glmlite.toolchain.__file__).parent / "convert.py"
_SAVE_TYPE_SEARCHED_IN = (TOOL, Path("tools/converter/lib/libmindspore_converter.so"))


@dataclasses.dataclass(frozen=True)
class Converter:
    """A converter that is there.

    Attributes:
        program: what its command begins with.
        root: of the package, or None for a Python interpreter's.
        version: in words, for the manifest.
        save_type: whether it is told `--saveType=MINDIR`; packages that do not know the flag refuse
            it, and write MindIR anyway.
    """

    program: tuple[str, ...]
    root: Path | None
    version: str
    save_type: bool

    def variables(self, recipe: QuantRecipe | None = None) -> dict[str, str]:
        """Environment variables that are set for it, on top of what is there."""
        values = {}
        if recipe and recipe.kind == "ascend":
            values["ASCEND_BACK_POLICY"] = "ge"
            values["ASCEND_DEVICE_ID"] = os.environ.get("ASCEND_DEVICE_ID", "0")
        if self.root:
            values["LITE_HOME"] = str(self.root)
            parts = [str(self.root / part) for part in LIBRARIES]
            present = os.environ.get("LD_LIBRARY_PATH")
            values["LD_LIBRARY_PATH"] = ":".join([*parts, present] if present else parts)
        return values

    def environment(self, recipe: QuantRecipe | None = None) -> dict[str, str]:
        """Its whole environment; another interpreter must not see this one's packages."""
        base = dict(os.environ) if self.root else clean_environment()
        return base | self.variables(recipe)


@dataclasses.dataclass(frozen=True)
class Command:
    """One run of a converter.

    Attributes:
        argv: program and arguments.
        variables: what is set in its environment.
        config_path: the file that holds `config_text` when it runs; None: it needs none.
        config_text: the recipe, with the nodes of this very graph to skip.
    """

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    config_path: Path | None = None
    config_text: str = ""

    def __str__(self) -> str:
        """The same for a shell."""
        lines = []
        if self.config_path is not None:
            lines = [f"mkdir -p {shlex.quote(str(self.config_path.parent))}"]
            lines += [f"cat > {shlex.quote(str(self.config_path))} <<'EOF'\n{self.config_text}EOF"]
        settings = [f"{k}={shlex.quote(v)}" for k, v in self.variables.items()]
        lines.append(" \\\n    ".join([*settings, *map(shlex.quote, self.argv)]))
        return "\n".join(lines)


def find_converter(
    recipe: QuantRecipe,
    root: str | os.PathLike[str] | None = None,
    toolchain: str | os.PathLike[str] | None = None,
) -> Converter:
    """The converter that is named, else one of a package root in the environment, else Python's.

    Args:
        recipe: what it must be able to do; for the message.
        root: a package root, which holds `tools/converter/converter/converter_lite`.
        toolchain: interpreter whose `mindspore_lite` may serve.

    Raises:
        ExportError: there is none; says what to install, and where from.
    """
    named = root
    if named is None and recipe.kind == "ascend":
        named = next((os.environ[v] for v in ROOT_VARIABLES if os.environ.get(v)), None)
    if named is not None:
        return package_converter(Path(named))
    interpreter = find_toolchain(toolchain)
    if converter := python_converter(interpreter):
        return converter
    if recipe.kind == "ascend":
        raise NoConverterError(
            "Recipe {recipe} needs the converter of MindSpore Lite 2.1 or newer for Ascend, and "
            "there is none: no --converter, no PACKAGE_ROOT or LITE_HOME, no mindspore_lite in "
            "{python}.",
            hint="Download mindspore-lite-VERSION-linux-ARCH.tar.gz (cloud_fusion) from "
            "https://www.mindspore.cn/lite, unpack it, and name the folder: --converter DIR. "
            "Without an Ascend machine: --accuracy-only shows what int8 costs, --portable makes "
            "int8 graphs for CPUs.",
            recipe=recipe.name,
            python=interpreter.python,
        )
    raise ExportError(
        "Recipe {recipe} needs MindSpore Lite, and {python} does not have it.",
        hint="Build a toolchain that has it (make toolchain) and name it: "
        "--toolchain .toolchain/bin/python",
        recipe=recipe.name,
        python=interpreter.python,
    )


def expected_converter() -> Converter:
    """The converter of a package that is still to be unpacked, for showing its commands."""
    root = Path(PACKAGE)
    return Converter((str(root / TOOL),), root, root.name, save_type=False)


def python_converter(interpreter: Interpreter) -> Converter | None:
    """The converter of an interpreter's `mindspore_lite`, if it has that."""
    if not interpreter.lite:
        return None
    program = (interpreter.python, str(_SCRIPT))
    return Converter(program, None, f"mindspore_lite {interpreter.lite}", True)


def package_converter(root: Path) -> Converter:
    """The `converter_lite` of a package root.

    Raises:
        ExportError: there is none, or it cannot be run.
    """
    root = root.expanduser().absolute()
    tool = root / TOOL
    if not tool.is_file() or not os.access(tool, os.X_OK):
        raise ExportError(
            "{root} is no MindSpore Lite package: {tool} is missing or cannot be run.",
            hint="--converter names the unpacked folder mindspore-lite-VERSION-linux-ARCH.",
            root=str(root),
            tool=str(TOOL),
        )
    return Converter((str(tool),), root, root.name, _knows_save_type(root))


def _knows_save_type(root: Path) -> bool:
    """Whether the flag's name is in the package's files; older ones have no such flag."""
    for name in _SAVE_TYPE_SEARCHED_IN:
        path = root / name
        if path.is_file():
            with path.open("rb") as file:
                end = b""
                while block := file.read(1 << 20):
                    if b"saveType" in end + block:
                        return True
                    end = block[-8:]
    return False


def skipped_nodes(recipe: QuantRecipe, quantized: Collection[str], graph: Path) -> tuple[str, ...]:
    """Nodes of a graph that keep out of quantization, in the graph's order.

    These are the ones that read no weight that is to be quantized: rotations, masks and averages
    are products with constants, and a converter would round those too.

    Args:
        recipe: nodes that it names itself come first.
        quantized: the weights to quantize.
        graph: the MindIR.

    Raises:
        ExportError: this is no MindIR.
    """
    named = [name for name in recipe.skipped if not name.startswith("transformer.")]
    try:
        read = readers(os.fspath(graph))
    except (MindIRError, OSError) as error:
        raise ExportError(
            "{path} is no MindIR: {error}", path=str(graph), error=str(error)
        ) from error
    return (*named, *(node for node, w in read.items() if not set(w) & set(quantized)))


def make_command(
    converter: Converter,
    recipe: QuantRecipe,
    quantized: Collection[str],
    model: Path,
    output: Path,
    config: Path,
) -> Command:
    """The command for one graph.

    Args:
        converter: from `find_converter`.
        recipe: what to do.
        quantized: names of the weights that become int8.
        model: the MindIR; its external data lies where it says, relative to it.
        output: without a suffix; the converter adds `.mindir`.
        config: where the recipe for this graph will lie.
    """
    flags = [
        "--fmk=MINDIR",
        f"--modelFile={model}",
        f"--outputFile={output}",
        f"--optimize={recipe.optimize}",
        f"--configFile={config}",
    ]
    if converter.save_type:
        flags.append("--saveType=MINDIR")
    text = recipe.config_text(skipped_nodes(recipe, quantized, model))
    return Command((*converter.program, *flags), converter.variables(recipe), config, text)

"""Which converter there is, and the command that makes one Lite graph of an ONNX file.

Source of the flags: MindSpore Lite, "Model Converter Tool".
"""

from __future__ import annotations

import os
from pathlib import Path

from glmlite.bundle.manifest import GraphEntry, Manifest
from glmlite.errors import ExportError
from glmlite.exporter.onnx_graph.export import file_of
from glmlite.lite_conversion.job import ConversionOptions, LiteJob, input_shapes
from glmlite.quant.converter import (
    ROOT_VARIABLES,
    Command,
    Converter,
    package_converter,
    python_converter,
)
from glmlite.runtime.engines.interpreter import find_toolchain


def find_converter(options: ConversionOptions) -> Converter:
    """The converter that is named, else the toolchain's, else one of a package in the environment.

    The toolchain comes before the environment because its Lite can run the graphs as well.

    Raises:
        ExportError: there is none; says what to install.
    """
    if options.converter is not None:
        return package_converter(Path(options.converter))
    interpreter = find_toolchain(options.toolchain)
    if converter := python_converter(interpreter):
        return converter
    named = next((os.environ[v] for v in ROOT_VARIABLES if os.environ.get(v)), None)
    if named is not None:
        return package_converter(Path(named))
    raise ExportError(
        "There is no MindSpore Lite to convert with: no --converter, no PACKAGE_ROOT or "
        "LITE_HOME, no mindspore_lite in {python}.",
        hint="In a Python 3.7: pip install mindspore-lite==2.0.0 'numpy<1.22', and name that "
        "interpreter: --toolchain PYTHON (`make toolchain` builds one). Or unpack "
        "mindspore-lite-VERSION-linux-ARCH.tar.gz of https://www.mindspore.cn/lite, and name the "
        "folder: --converter DIR",
        python=interpreter.python,
    )


def onnx_file(graph: GraphEntry) -> str:
    """The ONNX file that a graph is made from: prefill and decode have the same."""
    return file_of(graph.phase, "standard")


def make_command(
    converter: Converter, manifest: Manifest, graph: GraphEntry, folder: Path
) -> Command:
    """The command for one graph.

    Args:
        converter: what runs.
        manifest: of the source; its sizes are meant.
        graph: to make.
        folder: holds the ONNX files with `weights/`, and gets the graph.
    """
    shapes = ";".join(
        f"{name}:{','.join(map(str, shape))}"
        for name, shape in input_shapes(graph, manifest).items()
    )
    flags = [
        "--fmk=ONNX",
        f"--modelFile={folder / onnx_file(graph)}",
        f"--outputFile={folder / Path(graph.file).stem}",
        f"--inputShape={shapes}",
    ]
    if converter.save_type:
        flags.append("--saveType=MINDIR")
    return Command((*converter.program, *flags), converter.variables())


def commands(job: LiteJob, folder: Path) -> list[tuple[GraphEntry, Command]]:
    """What is run for each graph, when `folder` is where that happens.

    Raises:
        ExportError: there is no converter.
    """
    converter = find_converter(job.options)
    manifest = job.bundle.manifest
    return [(graph, make_command(converter, manifest, graph, folder)) for graph in job.graphs]

"""Runs the converter over the graphs of a bundle and takes in what it writes."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry, check_relative
from glmlite.errors import BundleError, ExportError
from glmlite.i18n import _
from glmlite.progress import Progress
from glmlite.quant.converter import Command, Converter, make_command
from glmlite.quant.process import Log, run_logged
from glmlite.quant.recipe import QuantRecipe
from glmlite.toolchain import mindir

_SCRATCH = ".converter"


def commands(
    bundle: Bundle,
    recipe: QuantRecipe,
    converter: Converter,
    quantized: Collection[str],
    folder: Path,
) -> list[tuple[GraphEntry, Command]]:
    """What has to be run for each graph, to write into `folder`."""
    return [
        (
            graph,
            make_command(
                converter,
                recipe,
                quantized,
                bundle.path / graph.file,
                folder / Path(graph.file).stem,
                folder / _SCRATCH / f"{Path(graph.file).stem}.cfg",
            ),
        )
        for graph in bundle.manifest.graphs
    ]


def convert_graphs(
    bundle: Bundle,
    recipe: QuantRecipe,
    converter: Converter,
    quantized: Collection[str],
    folder: Path,
    timeout: float | None,
    progress: Progress,
    log: Log,
) -> tuple[GraphEntry, ...]:
    """Convert every graph of a bundle into `folder`.

    Args:
        bundle: the source; its graphs are read where they lie, with their external data.
        recipe: what to do.
        converter: what does it.
        quantized: names of the weights that become int8.
        folder: a staging folder; left as it was but for the new graphs and their data.
        timeout: seconds for one graph; None for no limit.
        progress: gets one stage with a step a graph.
        log: gets the converter's lines.

    Raises:
        ExportError: the converter failed, took too long, or wrote nothing that can be used.
    """
    graphs = commands(bundle, recipe, converter, quantized, folder)
    progress.stage(
        _("Converting with {converter}", converter=converter.version), len(graphs), _("graphs")
    )
    (folder / _SCRATCH).mkdir()
    entries = []
    for graph, command in graphs:
        if command.config_path is not None:
            command.config_path.write_text(command.config_text, encoding="utf-8")
        before = list_files(folder)
        environment = converter.environment(recipe)
        code, tail = run_logged(command.argv, environment, timeout, log)
        if code != 0:
            raise ExportError(
                "The converter failed on {graph} (exit code {code}). The end of its log:\n{log}",
                hint="On-the-fly int8 needs MindSpore Lite 2.1 or newer for Ascend; "
                "--print-command shows the command, to run it by hand."
                if recipe.kind == "ascend"
                else "--print-command shows the command, to run it by hand.",
                graph=graph.file,
                code=code,
                log=tail or "-",
            )
        entries.append(take_in(folder, graph, list_files(folder) - before, tail))
        progress.advance()
    shutil.rmtree(folder / _SCRATCH)
    return tuple(entries)


def list_files(folder: Path) -> set[str]:
    """Every file and symbolic link below a folder, relative to it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def take_in(folder: Path, graph: GraphEntry, new: set[str], tail: str) -> GraphEntry:
    """Check what the converter wrote for a graph, and describe it.

    Args:
        folder: where it wrote.
        graph: what it was to write.
        new: the files that it wrote, relative to the folder.
        tail: the end of its log.

    Raises:
        ExportError: it is not one MindIR with its data beside it.
    """
    written = sorted(name for name in new if name.endswith(".mindir"))
    if len(written) != 1:
        raise ExportError(
            "The converter ended well but wrote {count} graphs for {graph} instead of one. The end "
            "of its log:\n{log}",
            hint="--print-command shows the command, to run it by hand.",
            count=len(written),
            graph=graph.file,
            log=tail or "-",
        )
    path = folder / written[0]
    try:
        for name in new:
            if (folder / name).is_symlink():
                raise mindir.MindIRError(f"{name} is a symbolic link")
        version = mindir.read_version(os.fspath(path))
        for parameter in mindir.list_parameters(os.fspath(path)):
            _check_place(path.parent, parameter)
    except (mindir.MindIRError, BundleError, OSError, UnicodeDecodeError) as error:
        raise ExportError(
            "What the converter wrote for {graph} cannot be used: {error}",
            graph=graph.file,
            error=str(error),
        ) from error
    return dataclasses.replace(graph, file=written[0], mindir_version=version)


def _check_place(folder: Path, parameter: mindir.StoredParameter) -> None:
    """External data must lie in the folder, all of it."""
    if parameter.location is None:
        return
    check_relative(parameter.location)
    size = (folder / parameter.location).stat().st_size
    if parameter.offset + parameter.length > size:
        raise mindir.MindIRError(f"{parameter.name} lies outside {parameter.location}")

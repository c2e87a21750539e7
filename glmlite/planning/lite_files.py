"""The ini files that MindSpore Lite would get, for an operator with a runner of his own."""

from __future__ import annotations

import os
from pathlib import Path

from glmlite.bundle import Bundle
from glmlite.errors import ConfigError, EngineError
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.lite_config import gear_options, parse_gears, render
from glmlite.runtime.engines.lite_config.build import Variables, lite_choices, load_configs
from glmlite.toolchain.mindir import MindIRError
from glmlite.toolchain.signature import read_signature


def bundle_files(path: Path, engine_config: str) -> dict[str, str]:
    """File name -> text for a bundle: `prefill.ini` and `decode.ini`, and score.ini where needed.

    Raises:
        EngineError: the ini does not fit the bundle. BundleError: it is none.
    """
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    graphs = [g for g in manifest.graphs if g.format == "mindir"]
    if not graphs:
        raise EngineError(
            "The bundle {path} holds no MindIR graph: MindSpore Lite has nothing to be told.",
            hint="Export MindIR for Lite: --set export.format=mindir",
            path=str(path),
        )
    graph_set = GraphSet(
        bundle.path,
        graphs,
        manifest.model,
        manifest.weights.dtype,
        manifest.prefix_length,
        manifest.prefix_cache,
        "?",
    )
    phases: dict[str, str] = {str(bundle.path / g.file): g.phase for g in graphs}
    return _texts(engine_config, phases, graph_set.variables)


def _texts(
    engine_config: str, phases: dict[str, str], variables: Variables | None
) -> dict[str, str]:
    prefill, _decode = load_configs(engine_config)
    device = "cpu" if prefill.cache == "host" and prefill.provider is None else "ascend"
    (choice,) = lite_choices(engine_config, device, phases, variables)
    files: dict[str, str] = {}
    for path, phase in phases.items():
        entry = choice["graphs"][path]
        text = (
            Path(entry["path"]).read_text(encoding="utf-8")
            if "path" in entry
            else render(entry["sections"])
        )
        name = f"{phase}.ini"
        if files.setdefault(name, text) != text:  # positions differ between graphs of one phase
            files[f"{Path(path).stem}.ini"] = text
    return files


def graph_files(path: Path, engine_config: str, gears: str) -> dict[str, str]:
    """The same for one dynamic MindIR and its gears: `GRAPH.ini`.

    Raises:
        ConfigError: the gears, or the graph for them, are not usable. EngineError: no MindIR.
    """
    parsed = parse_gears(gears)
    try:
        signature = read_signature(str(path))
    except (MindIRError, OSError) as error:
        raise EngineError(
            "{path} is no MindIR: {error}", path=str(path), error=str(error)
        ) from error
    prefill, _decode = load_configs(engine_config)
    if prefill.provider != "ge":
        raise ConfigError(
            "Gears need provider=ge in [ascend_context]; {path} has none.",
            hint="Use --engine-config ascend_ge.",
            path=prefill.path.name,
        )
    sections = prefill.merged({"ge_graph_options": gear_options(signature.inputs, parsed)})
    return {f"{path.stem}.ini": render(sections)}


def write_files(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write them into a folder, all or none.

    Raises:
        ConfigError: one is there already, or the folder cannot be written.
    """
    targets = [folder / name for name in files]
    for target in targets:
        if target.exists():
            raise ConfigError(
                "{path} is there already.",
                hint="Name another folder: --write-config DIR",
                path=str(target),
            )
    made: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, text in zip(targets, files.values(), strict=True):
            scratch = target.with_name(target.name + ".part")
            made.append(scratch)
            scratch.write_text(text, encoding="utf-8")
        for scratch, target in zip(made, targets, strict=True):
            os.replace(scratch, target)
    except OSError as error:
        raise ConfigError(
            "{path} cannot be written: {error}",
            path=str(folder),
            error=error.strerror or str(error),
        ) from error
    finally:
        for scratch in made:
            scratch.unlink(missing_ok=True)
    return targets

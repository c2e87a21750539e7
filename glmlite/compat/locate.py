"""Which bundle a name, a folder, a graph file or a MindFormers YAML stands for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from glmlite.bundle.bundle import MANIFEST
from glmlite.errors import BundleError

ENVIRONMENT_VARIABLE = "GLMLITE_BUNDLES"
_SUFFIX = ".mindir"
_YAML = (".yaml", ".yml")
_WEIGHTS = (".ckpt", ".safetensors", ".pth", ".bin")


def is_bundle(path: Path) -> bool:
    """Whether a folder is a bundle, by its manifest."""
    return (path / MANIFEST).is_file()


def locate_bundle(name: str | os.PathLike[str]) -> Path:
    """The bundle's folder for what MindFormers calls a model.

    Args:
        name: a bundle's folder; a name such as "glm2_6b" (then build/NAME, or NAME in the folder
            that `GLMLITE_BUNDLES` names); a checkpoint's file, which stands for the bundle of its
            name without the suffix; or a MindFormers YAML, whose checkpoint_name_or_path,
            prefill_model_path or model_name leads to a bundle.

    Raises:
        BundleError: there is none; says where it was looked for.
    """
    text = os.fspath(name)
    path = Path(text).expanduser()
    tried = list(_yaml_places(path) if path.suffix in _YAML else _places(text))
    for place in tried:
        if is_bundle(place):
            return place
    raise BundleError(
        "{name} stands for no bundle; looked for one in {places}.",
        hint="Export the model once: glmlite export --config {config} --checkpoint PATH --output "
        "{output}, then name that folder.",
        name=text,
        places=", ".join(map(str, tried)) or "-",
        config=text if path.suffix in _YAML else "glm2_6b",
        output=tried[-1] if tried else "build/glm2_6b",
    )


def bundle_of_graph(graph: str | os.PathLike[str]) -> Path | None:
    """The bundle that a graph's path leads into, as MindFormers names graphs; None for a bare file.

    `glm2_export/glm2_6b_prefill_seq512_graph.mindir` is the bundle glm2_export, if that is one and
    no file of that name lies there beside it.
    """
    path = Path(graph).expanduser()
    stem = path.with_name(path.name.removesuffix(_SUFFIX))
    for place in (path, path.parent, stem, stem.with_name(stem.name.removesuffix("_graph"))):
        if is_bundle(place) and (not path.is_file() or _belongs(path, place)):
            return place
    return None


def _belongs(graph: Path, bundle: Path) -> bool:
    from glmlite.bundle import Bundle

    files = {(bundle / name).resolve() for name in Bundle.open(bundle).manifest.files}
    return graph.resolve() in files


def find_graph(graph: str | os.PathLike[str]) -> Path:
    """A bare graph's file: MindFormers' `x.mindir` is `x_graph.mindir` above 1 GiB of weights.

    Raises:
        BundleError: there is neither.
    """
    path = Path(graph).expanduser()
    stem = path.name.removesuffix(_SUFFIX)
    other = f"{stem.removesuffix('_graph')}{'' if stem.endswith('_graph') else '_graph'}{_SUFFIX}"
    for place in (path, path.with_name(other)):
        if place.is_file():
            return place
    raise BundleError(
        "There is no graph {path}, and its folder is no bundle.",
        hint="Export the model with the same YAML: glmlite export --config YAML",
        path=str(path),
    )


def _places(name: str) -> Iterator[Path]:
    path = Path(name).expanduser()
    yield path
    if path.suffix in _WEIGHTS:
        name = path.stem
    if os.sep not in name:
        if os.environ.get(ENVIRONMENT_VARIABLE):
            yield Path(os.environ[ENVIRONMENT_VARIABLE]).expanduser() / name
        yield Path("build") / name


def _yaml_places(path: Path) -> Iterator[Path]:
    from glmlite.exporter.includes import read_with_includes
    from glmlite.exporter.mindformers_yaml import output_folder

    data = read_with_includes(path)

    def text(*keys: str) -> str:
        value: object = data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""

    for name in (text("model", "model_config", "checkpoint_name_or_path"), text("load_checkpoint")):
        if name:
            yield from _places(name)
    if prefill := text("infer", "prefill_model_path"):
        yield Path(output_folder(prefill))
    if output := text("export", "output"):
        yield Path(output)
    if name := text("trainer", "model_name"):
        yield from _places(name)

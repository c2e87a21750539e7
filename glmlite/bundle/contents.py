"""What a bundle's files say of each other: the weights index, and where graphs find their weights.

The manifest tells which files there are. Index and graphs name files, too; what they name must be
among the manifest's, or `verify` would say nothing of the bytes that an engine reads.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from glmlite.bundle.manifest import GraphEntry, Manifest
from glmlite.errors import BundleError, EngineError
from glmlite.i18n import _
from glmlite.model.parameters import parameter_shapes
from glmlite.toolchain.mindir import MindIRError, StoredParameter, list_all_parameters
from glmlite.toolchain.quantized import PREFIXES
from glmlite.toolchain.weights import INTEGERS, WeightsIndex

# These graphs keep what the converter wrote: weights of their own, in files of their own.
_OWN_WEIGHTS = ("ascend_on_the_fly_int8",)


def read_index(path: Path) -> WeightsIndex:
    """Read a weights index.

    Raises:
        BundleError: it cannot be read, or does not fit its data file.
    """
    try:
        return WeightsIndex.read(os.fspath(path))
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
    ) as error:  # fmt: skip
        raise unusable_index(path, str(error)) from error


def unusable_index(path: Path, reason: str) -> BundleError:
    """The error of an index that cannot be used."""
    return BundleError(
        "The weights index {path} is not usable: {error}", path=str(path), error=reason
    )


def check_weights(folder: Path, manifest: Manifest) -> str:
    """See that the index lists the model's weights, in a file that the manifest lists.

    Args:
        folder: of the bundle; the manifest's files were checked.
        manifest: of the bundle.

    Returns:
        The data file's path inside the bundle.

    Raises:
        BundleError: the data file is not among the manifest's files, or a weight is missing, or has
            another shape or dtype than the manifest says.
    """
    path = folder / manifest.weights.index
    index = read_index(path)
    data = (PurePosixPath(manifest.weights.index).parent / index.file).as_posix()
    if data not in manifest.files:
        raise unusable_index(path, _("{path} is named, but not among the files", path=data))
    for prefix in PREFIXES:
        for name, shape in parameter_shapes(manifest.model).items():
            _check_parameter(path, index, prefix + name, shape, manifest.weights.dtype)
    return data


def _check_parameter(
    path: Path, index: WeightsIndex, name: str, shape: tuple[int, ...], dtype: str
) -> None:
    """See that one parameter is there; a second set of weights need not have it."""
    form, entry = index.quantized.get(name), index.tensors.get(name)
    if form is None and entry is None:
        if name.startswith(PREFIXES[1:]):
            return
        raise unusable_index(path, _("it lacks {name}", name=name))
    found = tuple((form or entry or {})["shape"])
    if found != shape:
        raise unusable_index(
            path,
            _(
                "{name} has shape {found}; the model needs {expected}",
                name=name,
                found=str(found),
                expected=str(shape),
            ),
        )
    if entry is not None and entry["dtype"] not in (*INTEGERS, dtype):
        raise unusable_index(
            path,
            _(
                "{name} is {found}; the manifest says {expected}",
                name=name,
                found=entry["dtype"],
                expected=dtype,
            ),
        )


def check_graphs(folder: Path, manifest: Manifest, graphs: Collection[GraphEntry]) -> None:
    """See that MindIR graphs read their weights from the bundle's own weights file.

    Args:
        folder: of the bundle.
        manifest: of the bundle.
        graphs: MindIR ones, about to be opened.

    Raises:
        BundleError: a graph names another file, or bytes that the file does not have.
        EngineError: one is no MindIR.
    """
    data = check_weights(folder, manifest)
    own = manifest.weights.quantization in _OWN_WEIGHTS
    sizes = {name: file.size for name, file in manifest.files.items() if own or name == data}
    for graph in graphs:
        path = folder / graph.file
        try:
            parameters = list_all_parameters(os.fspath(path))
        except (MindIRError, OSError, UnicodeDecodeError) as error:
            raise EngineError(
                "{path} is no MindIR: {error}", path=str(path), error=str(error)
            ) from error
        for parameter in parameters:
            _check_place(graph.file, parameter, sizes)


def _check_place(graph: str, parameter: StoredParameter, sizes: Mapping[str, int]) -> None:
    if parameter.location is None:
        return
    name = (PurePosixPath(graph).parent / parameter.location).as_posix()
    if name not in sizes:
        raise BundleError(
            "{graph} reads {name} from {path!r}, which is no weights file of this bundle.",
            hint="Do not use this bundle; copy it again, or export it again.",
            graph=graph,
            name=parameter.name,
            path=parameter.location,
        )
    if parameter.offset + parameter.length > sizes[name]:
        raise BundleError(
            "{graph} reads {name} from bytes that {path} does not have.",
            hint="Get the bundle again from where it was made, or export it again.",
            graph=graph,
            name=parameter.name,
            path=name,
        )


def check_special_ids(manifest: Manifest, found: Mapping[str, int]) -> None:
    """See that the tokenizer has the special ids that it had when the bundle was made.

    Raises:
        BundleError: it has others: another file, or another family than the model's.
    """
    if manifest.tokenizer is not None and manifest.tokenizer.special_ids != found:
        raise BundleError(
            "The special ids of {path} as a {family} tokenizer are not the manifest's; the "
            "tokenizer or the family was changed.",
            hint="Get the bundle again from where it was made, or export it again.",
            path=manifest.tokenizer.file,
            family=manifest.family,
        )

"""A bundle on disk: opened, checked, read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle.contents import check_weights
from glmlite.bundle.manifest import Manifest
from glmlite.bundle.weights import BundleWeights
from glmlite.errors import BundleError
from glmlite.i18n import _
from glmlite.progress import NoProgress, Progress

MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 64 << 20
_HASH_BLOCK = 8 << 20


def sha256_of(path: Path, progress: Progress) -> str:
    """The hex sha256 of a file; `progress` advances by bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
            progress.advance(len(block))
    return digest.hexdigest()


class Bundle:
    """An opened bundle: its manifest holds, every file lies inside the folder and has its size.

    Attributes:
        path: the folder, absolute.
        manifest: what it says of itself.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, retuning: bool = False) -> Bundle:
        """Open the bundle in a folder.

        Args:
            path: the folder.
            retuning: leave the tuned settings unchecked, which are about to be replaced.

        Raises:
            BundleError: there is none, its manifest does not hold, a file is missing, is a symlink,
                or has another size, or the weights are not the model's.
        """
        folder = Path(path)
        try:
            if (folder / MANIFEST).is_symlink():
                raise _symbolic_link(MANIFEST)
            if (folder / MANIFEST).stat().st_size > _MAX_MANIFEST_BYTES:
                raise BundleError("manifest.json in {path} is too large.", path=str(folder))
            text = (folder / MANIFEST).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BundleError("manifest.json in {path} is no UTF-8.", path=str(folder)) from error
        except OSError as error:
            raise BundleError(
                "There is no bundle at {path}: manifest.json cannot be read ({error}).",
                hint="A bundle is the folder that `glmlite export` makes: "
                "glmlite export --config glm2_6b --checkpoint DIR --output {path}",
                path=str(folder),
                error=error.strerror or str(error),
            ) from error
        bundle = cls(folder.resolve(), Manifest.from_json(text))
        for name in bundle.manifest.files:
            if not (retuning and name == bundle.manifest.tuned_settings):
                bundle._check_file(name)
        check_weights(bundle.path, bundle.manifest)
        return bundle

    def _check_file(self, name: str) -> None:
        path, expected = self.path / name, self.manifest.files[name].size
        is_tuned = name == self.manifest.tuned_settings
        at = self.path
        for part in name.split("/"):
            at = at / part
            if at.is_symlink():
                raise _symbolic_link(name)
        if not path.is_file():
            raise BundleError(
                "{path} is missing from the bundle {bundle}.",
                hint="Measure again: glmlite tune {bundle}"
                if is_tuned
                else "Copy the whole folder again, or export it again.",
                path=name,
                bundle=str(self.path),
            )
        found = path.stat().st_size
        if found != expected:
            raise BundleError(
                "{path} has {found} bytes; the manifest says {expected}.",
                hint="Measure again: glmlite tune {bundle}"
                if is_tuned
                else "The copy is incomplete: copy the folder again, or export it again.",
                path=name,
                bundle=str(self.path),
                found=found,
                expected=expected,
            )

    def verify(self, progress: Progress | None = None) -> None:
        """Compare every file's sha256 with the manifest's.

        Raises:
            BundleError: a file has changed.
        """
        progress = progress or NoProgress()
        files = self.manifest.files
        progress.stage(_("Verifying files"), sum(f.size for f in files.values()), "B")
        for name, entry in files.items():
            if sha256_of(self.path / name, progress) != entry.sha256:
                raise BundleError(
                    "{path} was changed: its sha256 is not the manifest's.",
                    hint="Do not use this bundle; copy it again, or export it again.",
                    path=name,
                )

    @property
    def tokenizer_path(self) -> Path | None:
        """The tokenizer's file, or None."""
        entry = self.manifest.tokenizer
        return self.path / entry.file if entry else None

    def weights(self) -> BundleWeights:
        """The weights under Hugging Face names."""
        return BundleWeights(self.path / self.manifest.weights.index)

    def prefix_cache(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]] | None:
        """Keys and values [groups, P, head_dim] of each layer's prefix, or None.

        Raises:
            BundleError: the file is no array of [layers, 2, groups, P, head_dim].
        """
        name, model = self.manifest.prefix_cache, self.manifest.model
        if name is None:
            return None
        expected = (
            model.num_layers,
            2,
            model.num_groups,
            self.manifest.prefix_length,
            model.head_dim,
        )
        try:
            array = np.load(self.path / name, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BundleError("{path} is no array: {error}", path=name, error=str(error)) from error
        if array.shape != expected:
            raise BundleError(
                "{path} has shape {found}; the model needs {expected}.",
                path=name,
                found=str(array.shape),
                expected=str(expected),
            )
        return [(layer[0], layer[1]) for layer in array.astype(np.float32)]


def _symbolic_link(name: str) -> BundleError:
    return BundleError(
        "{path} in the bundle is a symbolic link; a bundle holds plain files only.", path=name
    )

"""Starts the worker as `python PATH/TO/toolchain`: this folder becomes a package of its own.

The interpreter need not have glmlite installed, and the names of glmlite's other folders must not
shadow anything there, so the folder is loaded under a name nobody else has.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType


def load_package() -> ModuleType:
    """This folder as the package `glmlite_toolchain`."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != folder]
    spec = importlib.util.spec_from_file_location(
        "glmlite_toolchain",
        os.path.join(folder, "__init__.py"),
        submodule_search_locations=[folder],
    )
    if spec is None or spec.loader is None:
        raise ImportError("%s is no package" % folder)
    package = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)
    return package


if __name__ == "__main__":
    load_package()
    worker = importlib.import_module("glmlite_toolchain.worker")
    worker.main()

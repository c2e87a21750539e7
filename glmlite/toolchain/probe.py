"""What an interpreter offers, found out without importing anything heavy."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from typing import Any

PACKAGES = ("mindspore", "mindspore-lite", "onnxruntime", "onnx", "numpy")


def _version(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    if sys.version_info >= (3, 8):
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(package)
        except PackageNotFoundError:
            return None
    else:
        import pkg_resources

        try:
            return pkg_resources.get_distribution(package).version
        except pkg_resources.DistributionNotFound:
            return None


def probe() -> dict[str, Any]:
    """Plain data: the interpreter's path and version, and the versions of what glmlite can use.

    A package counts only if its module is found too.
    """
    packages = {}
    for package in PACKAGES:
        found = importlib.util.find_spec(package.replace("-", "_")) is not None
        packages[package] = _version(package) if found else None
    return {
        "python": sys.executable,
        "version": platform.python_version(),
        "platform": "%s-%s" % (platform.system(), platform.machine()),
        "ascend": os.path.exists("/dev/davinci_manager"),
        "packages": packages,
    }


if __name__ == "__main__":
    print(json.dumps(probe()))

"""What an interpreter offers, found out without importing anything heavy."""

import importlib.util
import json
import os
import platform
import sys

PACKAGES = ("mindspore", "mindspore-lite", "onnxruntime", "onnx", "numpy")


def _version(package):
    """The installed version of a distribution, or None."""
    try:
        from importlib.metadata import PackageNotFoundError, version
    except ImportError:  # Python 3.7
        import pkg_resources

        try:
            return pkg_resources.get_distribution(package).version
        except pkg_resources.DistributionNotFound:
            return None
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def probe():
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

"""MindSpore Lite's converter behind the flags of `converter_lite`, for packages that lack the tool.

    python convert.py --fmk=MINDIR|ONNX --modelFile=IN --outputFile=OUT [--optimize=…]
        [--configFile=CFG] [--inputShape=NAME:1,32;…] [--saveType=MINDIR]

A script of its own: the converter prints on standard output, cannot be interrupted, and may crash.
Needs nothing but `mindspore_lite`. In 2.0.0 `Converter.config_info` is silently ignored, so the
config goes in as a file.
"""

from __future__ import annotations

import argparse
import os
import sys


def parse_shapes(text: str) -> dict[str, list[int]]:
    """`name:1,32;other:1` as `Converter.input_shape` wants it; names may hold dots.

    Raises:
        ValueError: it is not of this form.
    """
    shapes = {}
    for part in text.split(";"):
        name, _, sizes = part.rpartition(":")
        if not name:
            raise ValueError("%r is no NAME:SIZE,SIZE" % part)
        shapes[name] = [int(size) for size in sizes.split(",")]
    return shapes


def main() -> int:
    """Convert one graph; the exit code is 0 if that went well."""
    # This folder's modules must not hide anybody else's.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != folder]
    parser = argparse.ArgumentParser()
    parser.add_argument("--fmk", required=True, choices=["MINDIR", "ONNX"])
    parser.add_argument("--modelFile", required=True)
    parser.add_argument("--outputFile", required=True)
    parser.add_argument("--optimize", default="general")
    parser.add_argument("--configFile", default="")
    parser.add_argument("--inputShape", default={}, type=parse_shapes)
    parser.add_argument("--saveType", default="MINDIR", choices=["MINDIR", "MINDIR_LITE"])
    flags = parser.parse_args()

    import mindspore_lite as lite

    converter = lite.Converter()
    converter.save_type = getattr(lite.ModelType, flags.saveType)
    try:
        converter.optimize = flags.optimize
        if flags.inputShape:
            converter.input_shape = flags.inputShape
        framework = getattr(lite.FmkType, flags.fmk)
        converter.convert(
            framework, flags.modelFile, flags.outputFile, config_file=flags.configFile
        )
    except (RuntimeError, ValueError, TypeError) as error:
        version = getattr(lite, "__version__", "?")
        print("MindSpore Lite %s: %s" % (version, error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

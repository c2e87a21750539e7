"""Bundles for MindSpore Lite without MindSpore: Lite's own converter reads ONNX graphs of ours.

`LiteJob.open` checks a request, `run_conversion` carries it out.
"""

from glmlite.lite_conversion.job import ConversionOptions, ConversionReport, LiteJob
from glmlite.lite_conversion.pipeline import run_conversion

__all__ = ["ConversionOptions", "ConversionReport", "LiteJob", "run_conversion"]

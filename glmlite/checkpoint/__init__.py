"""Readers of trained weights: streaming one tensor at a time, never executing what a file says."""

from glmlite.checkpoint.checkpoint import Checkpoint
from glmlite.checkpoint.folder import open_checkpoint
from glmlite.checkpoint.prefix import PREFIX_EMBEDDING, read_prefix
from glmlite.checkpoint.source import WeightSource, check_parameters

__all__ = [
    "PREFIX_EMBEDDING",
    "Checkpoint",
    "WeightSource",
    "check_parameters",
    "open_checkpoint",
    "read_prefix",
]

"""Adapters: LoRA is merged into the weights as they are read, a P-Tuning prefix becomes a cache."""

from glmlite.checkpoint.adapters.adapted import AdaptedCheckpoint, adapt
from glmlite.checkpoint.adapters.opening import AdapterEntry

__all__ = ["AdaptedCheckpoint", "AdapterEntry", "adapt"]

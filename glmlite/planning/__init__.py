"""What a bundle will take and how fast it will be, before it exists: `glmlite plan`.

The model is written down, with its sources and its error, in docs/planning.md.
"""

from __future__ import annotations

from glmlite.planning.advice import Room, kernels_asked, make_room
from glmlite.planning.devices import DEVICES, Device, find_device
from glmlite.planning.estimate import Estimate, estimate
from glmlite.planning.storage import WEIGHTS
from glmlite.planning.subject import Subject, from_bundle, from_config

__all__ = [
    "DEVICES",
    "WEIGHTS",
    "Device",
    "Estimate",
    "Room",
    "Subject",
    "estimate",
    "find_device",
    "from_bundle",
    "from_config",
    "kernels_asked",
    "make_room",
]

"""Bundles: the manifest's schema, opening and checking, and writing one whole or not at all."""

from glmlite.bundle.bundle import Bundle
from glmlite.bundle.manifest import Manifest
from glmlite.bundle.weights import BundleWeights

__all__ = ["Bundle", "BundleWeights", "Manifest"]

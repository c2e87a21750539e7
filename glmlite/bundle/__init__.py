"""Bundles: the manifest's schema, opening and checking, and writing one whole or not at all."""

from glmlite.bundle.bundle import Bundle, BundleWeights
from glmlite.bundle.manifest import Manifest

__all__ = ["Bundle", "BundleWeights", "Manifest"]

"""Quantization: numerics, recipes, Ascend's and Lite's converters, portable graphs, accuracy."""

"""Glob patterns of a recipe against the matrices of a model: each has to choose some."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Sequence

from glmlite.errors import ConfigError


def first_match(name: str, patterns: Sequence[str]) -> int | None:
    """The number of the first pattern that matches a name; None for none."""
    for number, pattern in enumerate(patterns):
        if fnmatch.fnmatchcase(name, pattern):
            return number
    return None


def check_patterns(
    patterns: Sequence[str], matrices: Collection[str], recipe: str, key: str
) -> None:
    """See that every pattern decides about at least one matrix.

    Args:
        patterns: in order; the first that matches counts.
        matrices: names of those that patterns may decide about; norms and biases are none of them.
        recipe: name, for messages.
        key: of the recipe, for messages.

    Raises:
        ConfigError: a pattern matches no matrix, or only such as an earlier one takes.
    """
    firsts = {name: first_match(name, patterns) for name in matrices}
    for number, pattern in enumerate(patterns):
        taken = [firsts[name] for name in matrices if fnmatch.fnmatchcase(name, pattern)]
        if not taken:
            raise ConfigError(
                "Recipe {recipe}: the pattern {pattern!r} of {key} matches no matrix of the model.",
                hint="Names are such as {near}; * stands for anything. Norms and biases stay "
                "float32, and prefill shares the embedding.",
                recipe=recipe,
                pattern=pattern,
                key=key,
                near=difflib.get_close_matches(pattern, matrices, n=1, cutoff=0.0)[0],
            )
        if number not in taken:
            before = sorted({first for first in taken if first is not None})
            raise ConfigError(
                "Recipe {recipe}: the pattern {pattern!r} of {key} is hidden by {others} before "
                "it.",
                hint="The first pattern that matches counts: put the narrow ones first, or leave "
                "this one out.",
                recipe=recipe,
                pattern=pattern,
                key=key,
                others=", ".join(repr(patterns[first]) for first in before),
            )

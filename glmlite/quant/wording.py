"""Figures of accuracy in words, wherever they are shown.

A manifest keeps plain English, so that its bytes are the same whoever makes it; the reader's
language is taken here.
"""

from __future__ import annotations

from glmlite.bundle.accuracy import AccuracyEntry
from glmlite.i18n import _
from glmlite.quant.activations import BLOCK, TOKEN
from glmlite.quant.sample import DEMO_CORPUS, RANDOM_IDS


def text_name(label: str) -> str:
    """What was measured on; see `Sample.label`. A file's name stays as it is."""
    return {DEMO_CORPUS: _("demo corpus"), RANDOM_IDS: _("random ids")}.get(label, label)


def rounded(rules: str) -> str:
    """How inputs are rounded; one rule or several, as `activations.in_words` writes them."""
    return ", ".join(_rule(rule) for rule in rules.split(", "))


def _rule(rule: str) -> str:
    if rule == TOKEN:
        return _("int8 per token")
    if rule.startswith(BLOCK):
        return _("int8 per block of {size}", size=rule.removeprefix(BLOCK).strip())
    return rule


def perplexity_change(entry: AccuracyEntry) -> float:
    """Relative change of the perplexity: 0.01 is one percent more."""
    return entry.perplexity / entry.perplexity_before - 1


def signed_percent(share: float) -> str:
    """A change: "+1.25%"; one that is too small to be shown has no sign."""
    text = f"{share:+.2%}"
    return text[1:] if text in ("+0.00%", "-0.00%") else text

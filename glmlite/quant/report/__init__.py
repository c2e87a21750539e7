"""`report.html`: the accuracy report as one page that needs nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from glmlite.model.config import Family, ModelConfig
from glmlite.quant.accuracy import AccuracyReport

REPORT = "report.html"

__all__ = ["REPORT", "write_report"]


def write_report(
    path: Path, reports: Sequence[AccuracyReport], family: Family, model: ModelConfig
) -> None:
    """Write the page, in the user's language, whole or not at all.

    Args:
        path: of the file, or of a link to it.
        reports: of one quantized model, or of several recipes on the same text.
        family: of the model.
        model: its sizes.
    """
    from glmlite.quant.report.page import render

    about = f"{family}, {model.num_layers} × {model.hidden_size}"
    page = render(reports, about)
    # Beside its place and then renamed: an older page is never half replaced, and a link stays one.
    path = path.resolve()
    # Short, whatever the page is called: a name may be as long as names can be.
    unfinished = path.with_name(f".{secrets.token_hex(4)}.part")
    try:
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

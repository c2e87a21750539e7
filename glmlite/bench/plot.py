"""A picture of a benchmark: decoding over the length of the context, and against its ceiling."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from glmlite.bench.report import BenchReport
from glmlite.errors import ConfigError

SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """See that a plot can be written there; before an hour of measuring, not after it.

    Raises:
        ConfigError: matplotlib is missing, or the file cannot be written.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "--plot needs matplotlib, and it is not installed.",
            hint="pip install 'glmlite[plots]'",
        )
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            "--plot {path}: the name must end in one of: {known}.",
            path=str(path),
            known=", ".join(SUFFIXES),
        )
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            "--plot {path}: the folder does not exist or cannot be written.", path=str(path)
        )


def write_plot(report: BenchReport, path: Path) -> None:
    """Draw the context curve and the bandwidths that were measured; both may be missing."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(
        f"{report.subject.engine}, {report.subject.quantization}, "
        f"{report.subject.layers} x {report.subject.hidden_size}"
    )
    curve, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    contexts = [point.context for point in report.contexts]
    spreads = [point.token_seconds for point in report.contexts]
    medians = [1e3 * spread.median for spread in spreads]
    curve.plot(contexts, medians, marker="o")
    curve.fill_between(
        contexts, [1e3 * s.least for s in spreads], [1e3 * s.most for s in spreads], alpha=0.2
    )
    curve.set(xlabel="tokens in the cache", ylabel="ms per new token", xlim=(0, None))
    # A growth of a few percent should look like one.
    curve.set_ylim(0, 1.25 * max([1.0, *medians]))
    curve.grid(alpha=0.3)
    speeds = {
        "read bandwidth": report.bandwidth and report.bandwidth.bytes_per_second,
        "weights, decoding": report.weights_bytes_per_second,
    }
    known = {name: value / 1e9 for name, value in speeds.items() if value}
    bars.bar(list(known), list(known.values()), color=["#bbbbbb", "#1f77b4"][: len(known)])
    bars.set(ylabel="GB/s")
    # Beside its place and then renamed: an older picture is never half replaced.
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        figure.savefig(unfinished, dpi=150)
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(
            "--plot {path} cannot be written: {error}",
            path=str(path),
            error=error.strerror or str(error),
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)

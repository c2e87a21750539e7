"""How fast ONNX Runtime's matrix products are at the shapes of ChatGLM2-6B.

    python benchmarks/operators.py [--rows 1,8,128,512] [--only NAME,…] [--threads 2] [--json]

Two parts: the read bandwidth of this machine, and the time of each operator for all matrices of
one layer and the output layer. Up to 16 rows the weights are repeated until no cache holds them.
Times are the best of several runs. Needs `pip install 'glmlite[onnx]'` and 6 GiB of memory. Whether
the operators are exact: benchmarks/exactness.py.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the bandwidth is measured on own threads

import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.products import SHAPES, all_operators, build, feeds, uncached_bytes
from glmlite.bench.bandwidth import measure_bandwidth
from glmlite.runtime.host import inspect_host

LAYERS = 28


def best_time(
    run: Callable[[], object],
    at_least: float = 0.6,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    run()
    found, started = [], time.perf_counter()
    while len(found) < 3 or (time.perf_counter() - started < at_least and len(found) < 50):
        before = clock()
        run()
        found.append(clock() - before)
    return min(found)


def time_operators(
    names: list[str], shapes: list[str], rows: list[int], threads: int, cpu_time: bool
):
    """Seconds for each operator, matrix and number of rows."""
    found = []
    clock = time.process_time if cpu_time else time.perf_counter
    for name in names:
        for shape in shapes:
            out, into = SHAPES[shape]
            maker = all_operators()[name]
            bits = {"int4": 4, "int8": 8, "floa": 32}.get(name[:4], 8)
            many = -(-uncached_bytes() // (out * into * bits // 8))
            for few_rows in (True, False):
                chosen = [n for n in rows if (n <= 16) == few_rows]
                if not chosen:
                    continue
                copies = many if few_rows else 1
                session, nbytes = build(maker, out, into, copies, threads)
                for n in chosen:
                    fed = feeds(session, n, into)
                    run = partial(session.run, None, fed)
                    seconds = best_time(run, clock=clock) / copies
                    found.append(
                        {
                            "operator": name,
                            "matrix": shape,
                            "rows": n,
                            "seconds": seconds,
                            "gb_per_s": nbytes / copies / seconds / 1e9,
                            "gop_per_s": 2 * n * out * into / seconds / 1e9,
                        }
                    )
                    print(
                        f"  {name:14}{shape:8}{n:5} rows {seconds * 1e3:10.2f} ms",
                        file=sys.stderr,
                    )
                del session
    return found


def summarize(found: list[dict], rows: list[int]) -> list[str]:
    """One line per operator: a layer, the output layer, and the whole model's products."""
    lines = []
    for name in dict.fromkeys(row["operator"] for row in found):
        for n in rows:
            mine = {r["matrix"]: r for r in found if r["operator"] == name and r["rows"] == n}
            layer = [mine[m] for m in list(SHAPES)[:4] if m in mine]
            if len(layer) < 4:
                continue
            seconds = sum(r["seconds"] for r in layer)
            nbytes = sum(r["seconds"] * r["gb_per_s"] for r in layer)
            operations = sum(r["seconds"] * r["gop_per_s"] for r in layer)
            head = f"{mine['output']['seconds'] * 1e3:9.2f}" if "output" in mine else f"{'-':>9}"
            lines.append(
                f"{name:14}{n:6}{seconds * 1e3:12.2f}{head:>12}"
                f"{nbytes / seconds:9.1f}{operations / seconds:10.0f}{n / seconds / LAYERS:12.2f}"
            )
    return lines


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1,8,128,512", help="rows of the activations")
    parser.add_argument("--only", default="", help="operators, by the beginnings of their names")
    parser.add_argument("--matrices", default=",".join(SHAPES), help="of " + ",".join(SHAPES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the process's time instead of the clock's: for one thread on a busy machine",
    )
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    arguments = parser.parse_args()
    rows = [int(n) for n in arguments.rows.split(",")]
    prefixes = tuple(filter(None, arguments.only.split(",")))
    names = [n for n in all_operators() if not prefixes or n.startswith(prefixes)]
    onnxruntime.set_default_logger_severity(3)
    host = inspect_host()
    figures = {
        "cpu": host.cpu,
        "features": host.cpu_features,
        "threads": arguments.threads,
        "onnxruntime": onnxruntime.__version__,
        "bandwidth_one": measure_bandwidth(1).bytes_per_second,
        "bandwidth": measure_bandwidth(arguments.threads).bytes_per_second,
        "times": time_operators(
            names, arguments.matrices.split(","), rows, arguments.threads, arguments.cpu_time
        ),
    }
    figures["bandwidth"] = max(
        figures["bandwidth"], measure_bandwidth(arguments.threads).bytes_per_second
    )
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    print(f"{host.cpu} ({' '.join(host.cpu_features)}), {arguments.threads} threads, ", end="")
    print(f"ONNX Runtime {onnxruntime.__version__}")
    print(f"read bandwidth {figures['bandwidth_one'] / 1e9:.1f} GB/s on one thread, ", end="")
    print(f"{figures['bandwidth'] / 1e9:.1f} GB/s on {arguments.threads}")
    print("\noperator        rows    layer ms   output ms   GB/s*   GOP/s*   tokens/s**")
    print("\n".join(summarize(figures["times"], rows)))
    print("* over a layer  ** of 28 layers' products alone, without the output layer")


if __name__ == "__main__":
    main()

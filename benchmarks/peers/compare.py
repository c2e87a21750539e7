"""glmlite beside chatglm.cpp and llama.cpp: the same random weights, one run, one table.

    python benchmarks/peers/install.py                          # once: builds both peers
    python benchmarks/peers/compare.py --venv build/peers/venv

Whether the peers compute the right function is seen first, on a tiny model. Then every engine gets
a process of its own, one after the other, with the same number of threads: a prompt of 512 tokens
into an empty cache, decode steps with 64 tokens in the cache, peak memory, time to load; before
each, the machine's read bandwidth. Models that are not there yet are written first (20 GB for the
peers, 26 GB for glmlite) and kept for the next time. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers.agreement import Agreement, check_agreement
from benchmarks.peers.runners import ROOT, RUNNERS, run, run_peer
from benchmarks.peers.table import Row, print_markdown
from benchmarks.peers.write_models import paths, write_model
from glmlite.bench.bandwidth import measure_bandwidth
from glmlite.bench.random_bundle import SIZES, RandomModel, make_random_bundle
from glmlite.bench.random_weights import RandomWeights
from glmlite.cli.progress import show_progress
from glmlite.runtime.host import inspect_host

# Kind of the peers' weights -> (bits, glmlite's recipes to put beside it).
KINDS = {
    "q8_0": ("int8", ("cpu_int8", "cpu_w8a8")),
    "q4_0": ("int4", ("cpu_int4", "cpu_int4_w8a8")),
}
CONTEXT = 64


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def last_object(printed: str) -> dict[str, Any]:
    """The JSON object that a command printed last."""
    return dict(json.loads(printed if printed.startswith("{\n") else printed.splitlines()[-1]))


def measure_peer(
    python: Path, peer: str, path: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Measure a peer on a model."""
    options = ["--threads", arguments.threads, "--prompt-tokens", arguments.prompt_tokens]
    options += ["--contexts", CONTEXT, "--repeats", arguments.repeats]
    return last_object(run_peer(python, peer, [path, *options]))


def run_glmlite(bundle: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """`glmlite bench` on a bundle."""
    command = [sys.executable, "-m", "glmlite.cli", "bench", bundle, "--json"]
    command += ["--threads", arguments.threads, "--prompt-tokens", arguments.prompt_tokens]
    command += ["--new-tokens", 32, "--repeats", arguments.repeats]
    command += ["--contexts", arguments.contexts]
    return last_object(run(command))


def make_bundle(recipe: str, arguments: argparse.Namespace) -> Path:
    """A bundle of random weights; made once."""
    path = Path(arguments.bundles) / f"{arguments.preset}-{recipe}"
    with show_progress() as progress:
        return make_random_bundle(RandomModel(arguments.preset, recipe, 0), path, progress)


def peer_row(found: dict[str, Any], bits: str, path: Path) -> Row:
    """A peer's line of the table."""
    return Row(
        engine=f"{found['engine']} {found['version']}",
        weights=path.stem.rsplit("-", 1)[1],
        bits=bits,
        file_bytes=path.stat().st_size,
        load_seconds=found["load_seconds"],
        prefill=found["prefill_tokens_per_second"],
        decode=found["decode_tokens_per_second"][str(CONTEXT)],
        decode_bytes=None,
        peak_bytes=found["peak_bytes"],
        ours=False,
    )


def glmlite_row(found: dict[str, Any], bits: str, recipe: str) -> Row:
    """Our line of the table."""
    first, turn = found["contexts"][0], found["second_turn"]
    return Row(
        engine=f"glmlite {found['subject']['engine']}",
        weights=recipe,
        bits=bits,
        file_bytes=found["subject"]["weights_bytes"],
        load_seconds=found["load_seconds"],
        prefill=found["answers"]["prefill_tokens_per_second"]["median"],
        decode=1 / first["token_seconds"]["median"],
        decode_bytes=found["subject"]["decode_bytes"],
        peak_bytes=found["memory"]["peak"],
        ours=True,
        decode_growth=found["decode_growth"],
        second_turn_share=turn and turn["share"],
        bandwidth_share=found["bandwidth_share"],
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything, as plain data."""
    python = Path(arguments.venv).absolute() / "bin" / "python"
    say("comparing a tiny model with the reference")
    agreements = check_agreement(python)
    if not all(agreement.holds for agreement in agreements):
        raise SystemExit(f"a peer computes something else: {agreements}")
    config = SIZES[arguments.preset].config
    say("writing the peers' models, where they are not there yet")
    write_model(Path(arguments.models), arguments.preset, config, RandomWeights(config), [*KINDS])
    rows: list[Row] = []
    raw, bandwidths = [], []

    def before(name: str) -> None:
        bandwidths.append(measure_bandwidth(arguments.threads))
        say(f"{name}; reading at {bandwidths[-1].bytes_per_second / 1e9:.1f} GB/s")

    for kind, (bits, candidates) in KINDS.items():
        files = paths(Path(arguments.models), arguments.preset, kind)
        for peer, path in zip(RUNNERS, files, strict=True):
            before(f"{peer} {kind}")
            found = measure_peer(python, peer, path, arguments)
            raw.append(found)
            rows.append(peer_row(found, bits, path))
        for recipe in candidates:
            if recipe in arguments.recipes:
                bundle = make_bundle(recipe, arguments)
                before(f"glmlite {recipe}")
                found = run_glmlite(bundle, arguments)
                raw.append(found)
                rows.append(glmlite_row(found, bits, recipe))
                if arguments.discard:
                    shutil.rmtree(bundle)
    host = inspect_host()
    return {
        "preset": arguments.preset,
        "prompt_tokens": arguments.prompt_tokens,
        "decode_context": CONTEXT,
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "machine": {
            "cpu": host.cpu,
            "cores": host.cores,
            "features": host.cpu_features,
            "system": host.system,
            "python": platform.python_version(),
        },
        "bandwidth": {
            "bytes_per_second": max(b.bytes_per_second for b in bandwidths),
            "all": [b.bytes_per_second for b in bandwidths],
        },
        "agreement": [dataclasses.asdict(a) for a in agreements],
        "rows": [dataclasses.asdict(row) for row in rows],
        "raw": raw,
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=str(ROOT / "build" / "peers" / "venv"))
    parser.add_argument("--models", default=str(ROOT / "build" / "peers" / "models"))
    parser.add_argument("--bundles", default=str(ROOT / "build" / "peers" / "bundles"))
    parser.add_argument("--preset", default="glm2_6b", choices=sorted(SIZES))
    everything = [r for _bits, recipes in KINDS.values() for r in recipes]
    parser.add_argument("--recipes", nargs="*", default=everything, choices=everything)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--contexts", default="64,512,1024,2000", help="of glmlite's curve")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--discard", action="store_true", help="remove our bundles after use")
    parser.add_argument("--json", type=Path, help="write all figures there")
    arguments = parser.parse_args()
    started = time.monotonic()
    found = measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    rows = [Row(**row) for row in found["rows"]]
    agreements = [Agreement(**a) for a in found["agreement"]]
    print_markdown(rows, agreements, found)
    say(f"{(time.monotonic() - started) / 60:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

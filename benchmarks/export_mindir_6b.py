"""What a MindIR export of a whole 6B model takes, and what running its graphs on MindSpore takes.

    python benchmarks/random_checkpoint.py /tmp/random6b
    python benchmarks/export_mindir_6b.py export /tmp/random6b /tmp/bundle6b [--toolchain PATH]
    python benchmarks/export_mindir_6b.py run /tmp/bundle6b [--toolchain PATH] [--only GRAPH]
    python benchmarks/export_mindir_6b.py reference /tmp/bundle6b

`export` takes the recipe glm2_6b in float16. `run` opens all graphs at once (or one), feeds a chunk
of 32 tokens and two more, one by one, and keeps the logits in BUNDLE.run.npy. `reference` computes
the same in NumPy, layer by layer, and compares. Each phase prints the memory of every process, at
its peak; what is timed on a busy machine tells no more than an order of magnitude.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

# Python itself puts this script's own folder first.
sys.path.insert(1, str(Path(__file__).parents[1]))

from processes import measure

from glmlite.bundle import Bundle
from glmlite.model import reference
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.interpreter import find_toolchain
from glmlite.runtime.engines.options import EngineOptions

CHUNK, STEPS = 32, 2
GLMLITE = [sys.executable, "-c", "from glmlite.cli import main; main()"]


def tokens(vocab_size: int) -> np.ndarray:
    """The ids that are fed, int32 [CHUNK + STEPS]."""
    generator = np.random.default_rng(7)
    return generator.integers(0, vocab_size, CHUNK + STEPS, dtype=np.int32)


def export(arguments: argparse.Namespace) -> int:
    """Export, and tell what that took."""
    command = [
        *GLMLITE, "export", "--config", "glm2_6b", "--checkpoint", arguments.checkpoint,
        "--output", arguments.bundle, "--set", "model.dtype=float16",
    ]  # fmt: skip
    for change in arguments.set or []:
        command += ["--set", change]
    if arguments.toolchain:
        command += ["--toolchain", arguments.toolchain]
    usage = measure(command, Path(arguments.bundle).absolute().parent)
    print(usage.describe())
    if usage.returncode == 0:
        manifest = Bundle.open(arguments.bundle).manifest
        total = sum(entry.size for entry in manifest.files.values())
        share = total / manifest.weights.bytes
        print(f"bundle       {total / 1e9:8.2f} GB, {share:.4f} of the weights")
        for entry in manifest.parity:
            print(f"parity       {entry}")
    return usage.returncode


def run(arguments: argparse.Namespace) -> int:
    """Run some steps in a process of its own, and tell what that took."""
    command = [sys.executable, __file__, "steps", *sys.argv[2:]]
    usage = measure(command, Path(arguments.bundle).absolute().parent)
    print(usage.describe())
    return usage.returncode


def steps(arguments: argparse.Namespace) -> int:
    """The steps themselves."""
    bundle = Bundle.open(arguments.bundle)
    manifest = bundle.manifest
    chosen = [g for g in manifest.graphs if not arguments.only or g.file == arguments.only]
    interpreter = find_toolchain(arguments.toolchain)
    graphs = GraphSet(
        folder=bundle.path,
        graphs=chosen,
        model=manifest.model,
        dtype=manifest.weights.dtype,
        prefix_length=0,
        prefix_cache=None,
        producer=manifest.producer.get("mindspore", "?"),
    )
    started = time.monotonic()
    python = interpreter.python if arguments.toolchain else None
    engine = graphs.open("mindspore", EngineOptions(device="cpu", threads=2), python)
    print(f"opened {len(chosen)} graphs in {time.monotonic() - started:.1f} s", flush=True)
    ids, logits = tokens(manifest.model.vocab_size), []
    cache, position = engine.new_cache(), 0
    sizes = (chosen[0].tokens,) if arguments.only else (CHUNK,) + (1,) * STEPS
    for size in sizes:
        started = time.monotonic()
        chunk = np.resize(ids[position : position + size], (1, size)).astype(np.int32)
        row, valid = np.array([position], np.int32), np.array([min(size, CHUNK)], np.int32)
        logits.append(engine.step(chunk, row, valid, cache)[0])
        position += size
        print(f"{size} tokens in {time.monotonic() - started:.1f} s", flush=True)
    engine.close()
    if not arguments.only:
        np.save(Path(arguments.bundle + ".run.npy"), np.stack(logits))
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """The same steps by the reference, and how far the engine lies from it."""
    bundle = Bundle.open(arguments.bundle)
    model = bundle.manifest.model
    found = np.load(Path(arguments.bundle + ".run.npy"))
    started = time.monotonic()
    ids = tokens(model.vocab_size).tolist()
    (every,) = reference.forward(
        model, bundle.weights(), [ids], weight_dtype=bundle.manifest.weights.dtype
    )
    print(f"reference: {len(ids)} tokens in {time.monotonic() - started:.0f} s")
    wanted = every[CHUNK - 1 :]
    for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
        cosine = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
        print(
            f"step {i}: max |difference| {np.abs(one - other).max():.3g} of logits up to "
            f"{np.abs(other).max():.3g}, cosine {cosine:.6f}, "
            f"same token {one.argmax() == other.argmax()}"
        )
    return 0


def main() -> int:
    """Parse the command line and run a phase."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    phases = parser.add_subparsers(required=True)
    for name, function in {
        "export": export,
        "run": run,
        "steps": steps,
        "reference": compare,
    }.items():
        phase = phases.add_parser(name)
        phase.set_defaults(function=function)
        if name == "export":
            phase.add_argument("checkpoint")
            phase.add_argument("--set", action="append", help="changes to the recipe")
        phase.add_argument("bundle")
        if name != "reference":
            phase.add_argument("--toolchain", help="interpreter; this one if left out")
        if name in ("run", "steps"):
            phase.add_argument("--only", help="file of the one graph to load and run once")
    arguments = parser.parse_args()
    return int(arguments.function(arguments))


if __name__ == "__main__":
    sys.exit(main())

"""Whether the peers compute the same function: a tiny model, held against glmlite's reference."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.peers.runners import RUNNERS, run_peer
from benchmarks.peers.write_models import paths, write_model
from glmlite.bench.random_weights import RandomWeights
from glmlite.model.config import ModelConfig
from glmlite.model.reference import forward

KINDS = ("f32", "q8_0", "q4_0")
CONFIG = ModelConfig(
    num_layers=3,
    hidden_size=256,
    num_heads=4,
    num_groups=2,
    head_dim=64,
    ffn_hidden_size=416,
    vocab_size=2048,
    seq_length=256,
)
PROMPT, NEW = 20, 8
# The seed's greedy tokens are far enough ahead for float16 caches, which both peers have.
SEED = 5


@dataclasses.dataclass(frozen=True)
class Agreement:
    """One peer and one kind of weights.

    Attributes:
        equal_ids: leading greedy ids, of `NEW`, that are the reference's in float32.
        logits_error: root mean square difference of the first logits, relative to theirs; None
            where the peer gives none.
    """

    peer: str
    kind: str
    equal_ids: int
    logits_error: float | None

    @property
    def holds(self) -> bool:
        """Float weights give equal ids; quantized ones at least the first."""
        return self.equal_ids == NEW if self.kind == "f32" else self.equal_ids > 0


def check_agreement(
    python: Path, kinds: Sequence[str] = KINDS, threads: int = 2
) -> list[Agreement]:
    """Run both peers on the tiny model.

    Args:
        python: of the peers' venv.
        kinds: of weights, some of `KINDS`.
        threads: of each peer.
    """
    source = RandomWeights(CONFIG, SEED)
    ids = [3 + (i * 7919) % (CONFIG.vocab_size - 3) for i in range(PROMPT)]
    tokens, logits = list(ids), []
    for _ in range(NEW):
        logits.append(forward(CONFIG, source, [tokens])[0][-1])
        tokens.append(int(logits[-1].argmax()))
    expected = tokens[PROMPT:]
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder, "tiny", CONFIG, source, kinds)
        for kind in kinds:
            for peer, path in zip(RUNNERS, paths(folder, "tiny", kind), strict=True):
                arguments = [path, "--ids", json.dumps(ids), "--new-tokens", NEW]
                arguments += ["--cache", 128, "--threads", threads]
                printed = run_peer(python, peer, arguments, quiet=True)
                given = json.loads(printed.splitlines()[-1])["ids"]
                same = [a == b for a, b in zip(given, expected, strict=True)]
                equal = ([*same, False]).index(False)
                found.append(Agreement(peer, kind, equal, _error(path, logits[0])))
    return found


def _error(path: Path, expected: np.ndarray) -> float | None:
    file = path.with_suffix(".logits.npy")
    if not file.exists() or path.suffix != ".gguf":
        return None
    difference = np.load(file) - expected
    return float(np.sqrt(np.mean(np.square(difference)) / np.mean(np.square(expected))))

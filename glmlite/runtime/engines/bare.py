"""Two graph files without a bundle around them, as one engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from glmlite.errors import EngineError
from glmlite.i18n import _
from glmlite.runtime.engines import OpenedEngine
from glmlite.runtime.engines.base import EngineSpec
from glmlite.runtime.engines.contracts import BareGraph, read_bare_graph, to_job
from glmlite.runtime.engines.interpreter import Interpreter, find_toolchain
from glmlite.runtime.engines.lite_config.build import lite_choices
from glmlite.runtime.engines.mindir import LocalGraphs, MindIREngine, RemoteGraphs
from glmlite.runtime.engines.options import EngineOptions


@dataclasses.dataclass(frozen=True)
class GraphPair:
    """A prefill and a decode graph of one model that follow one contract.

    Raises:
        EngineError: they do not belong together.
    """

    prefill: BareGraph
    decode: BareGraph

    def __post_init__(self) -> None:
        one, other = self.prefill, self.decode
        if other.tokens != 1:
            raise EngineError(
                "{path} takes {tokens} tokens a step; a decode (increment) graph takes one.",
                hint="Give the prefill graph first and the increment graph second.",
                path=str(other.path),
                tokens=other.tokens,
            )
        for name in ("contract", "batch_size", "vocab_size", "cache_shape", "caches", "dtype"):
            if getattr(one, name) != getattr(other, name):
                raise EngineError(
                    "The two graphs do not belong together: {name} is {first} in {prefill} and "
                    "{second} in {decode}.",
                    name=name,
                    first=str(getattr(one, name)),
                    second=str(getattr(other, name)),
                    prefill=str(one.path),
                    decode=str(other.path),
                )

    @property
    def cache_length(self) -> int:
        """S: of the explicit cache, or the length that MindFormers' prefill is padded to."""
        explicit = self.prefill.contract == "explicit"
        return self.prefill.cache_shape[2] if explicit else self.prefill.tokens

    def spec(self, engine: str) -> EngineSpec:
        """What an engine of these graphs can run.

        With the cache inside the graphs, every chunk is handed over at once: the engine itself
        knows whether to prefill or to decode.
        """
        explicit = self.prefill.contract == "explicit"
        sizes = {self.prefill.tokens, 1} if explicit else {self.cache_length}
        return EngineSpec(
            name=engine,
            vocab_size=self.prefill.vocab_size,
            batch_size=self.prefill.batch_size,
            chunk_sizes=tuple(sorted(sizes)),
            score_sizes=(),
            capacity=self.cache_length,
        )

    def job(self, engine: str, options: EngineOptions) -> dict[str, Any]:
        """The same as plain data, for `glmlite.toolchain.engine.open_engine`."""
        shape = self.prefill.cache_shape or (0, 0, 0, 0)
        return {
            "engine": engine,
            "contract": self.prefill.contract,
            "graphs": [
                to_job(graph, phase, self.cache_length, "?")
                for graph, phase in ((self.prefill, "prefill"), (self.decode, "decode"))
            ],
            "num_layers": self.prefill.caches // 2,
            "num_groups": shape[1],
            "head_dim": shape[3],
            "vocab_size": self.prefill.vocab_size,
            "prefix_length": 0,
            "prefix_path": None,
            "options": {**options.to_dict(), "choices": self._choices(engine, options)},
        }

    def _choices(self, engine: str, options: EngineOptions) -> list[dict[str, Any]]:
        if engine != "lite":
            return []
        phases = {
            str(graph.path.resolve()): phase
            for graph, phase in ((self.prefill, "prefill"), (self.decode, "decode"))
        }
        return lite_choices(options.engine_config, options.device, phases)


def read_pair(prefill: Path, decode: Path) -> GraphPair:
    """Read the inputs of two MindIR files; no weights are read.

    Raises:
        EngineError: no graphs that glmlite can drive, or not of one model.
    """
    return GraphPair(read_bare_graph(prefill), read_bare_graph(decode))


def choose_for_pair(pair: GraphPair, interpreter: Interpreter) -> tuple[str, str]:
    """What engine "auto" means for bare graphs: its name and the reason.

    Raises:
        EngineError: the interpreter has none.
    """
    inside = pair.prefill.contract == "in_graph"
    if interpreter.lite and (interpreter.ascend or not inside):
        return "lite", _(
            "MindSpore Lite {version} is in {python}",
            version=interpreter.lite,
            python=interpreter.python,
        )
    if interpreter.mindspore:
        return "mindspore", _(
            "MindSpore {version} is in {python}",
            version=interpreter.mindspore,
            python=interpreter.python,
        )
    raise EngineError(
        "Bare graphs need MindSpore or MindSpore Lite, and {python} has none that runs these.",
        hint="Name an interpreter that has it: --toolchain PATH. `glmlite doctor` lists what was "
        "found.",
        python=interpreter.python,
    )


def open_pair(
    pair: GraphPair, name: str = "auto", options: EngineOptions | None = None
) -> OpenedEngine:
    """Open two bare graphs.

    Args:
        pair: from `read_pair`.
        name: "auto", "lite" or "mindspore".
        options: how the engine runs.

    Raises:
        EngineError: the engine is missing, or refuses a graph.
    """
    options = options or EngineOptions()
    if name not in ("auto", "lite", "mindspore"):
        raise EngineError(
            "Bare graphs run on the engines lite and mindspore, not on {name!r}.", name=name
        )
    interpreter = find_toolchain(options.toolchain)
    reason = _("as asked for")
    if name == "auto":
        name, reason = choose_for_pair(pair, interpreter)
    options = options.resolve(name, has_ascend=interpreter.ascend)
    job = pair.job(name, options)
    graphs = LocalGraphs(job) if interpreter.is_current else RemoteGraphs(job, interpreter.python)
    return OpenedEngine(MindIREngine(graphs, pair.spec(name)), name, reason)

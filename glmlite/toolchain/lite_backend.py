"""Runs MindIR graphs on MindSpore Lite 2.0 … 2.11, on the CPU or on Ascend.

What an installed Lite can do is looked up on its classes, never read off its version. What was run:
2.0.0 on x86-64 CPUs. What was not: everything behind `build_from_file` on Ascend.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from . import mindir
from .backend import Backend
from .errors import ToolchainError, first_words
from .lite_device import DeviceCache, DeviceRuns, takes_device_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .backend import CacheData, Graph, Rows

# Lite versions whose newest readable MindIR is known (measured); others decide for themselves.
KNOWN_MAX_MINDIR = {"2.0": 1}


def max_mindir_version(lite_version: str) -> int | None:
    """The newest `mind_ir_version` that a Lite reads, or None where that is not known."""
    return KNOWN_MAX_MINDIR.get(".".join(lite_version.split(".")[:2]))


class LiteBackend(Backend):
    """Builds one `Model` a graph; caches are arrays of the host, or Tensors of the device.

    Args:
        options: threads, device ("cpu" or "ascend"), device_id, rank_id, provider, and "choices":
            what the graphs may be built with (`lite_config.build.lite_choices`).
        lite: the module; for tests of what other versions offer.

    Raises:
        ToolchainError: this interpreter has no usable MindSpore Lite.
    """

    name = "lite"

    def __init__(self, options: Mapping[str, Any], lite: Any = None) -> None:
        if lite is None:
            try:
                import mindspore_lite

                lite = mindspore_lite
            except ImportError as error:
                raise ToolchainError(
                    "MindSpore Lite cannot be imported: {error}",
                    hint="Build a toolchain that has it (make toolchain) and name it: "
                    "--toolchain .toolchain/bin/python. `glmlite doctor` lists what was found.",
                    error=str(error),
                ) from error
        self.lite = lite
        self.version = getattr(lite, "__version__", "?")
        self.options = options
        self.device: str = options.get("device") or "cpu"
        self.group: Any = None
        self.models: dict[str, Any] = {}
        self.scratch: Any = None
        self.choice = self._choose(options.get("choices") or [])
        wanted = self.device == "ascend" and self.choice.get("cache") == "device"
        self.on_device = wanted and takes_device_tensors(lite)
        self.runs = DeviceRuns(lite)

    def _choose(self, choices: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The first choice whose provider this Lite has; the last one where none has."""
        if not choices:
            return {}
        has_provider = self.device == "ascend" and hasattr(self.lite.Context().ascend, "provider")
        fitting = [c for c in choices if has_provider or not c["provider"]]
        return (fitting or list(choices))[0]

    def context(self) -> Any:
        """A Lite context for the chosen device.

        Raises:
            ToolchainError: an option needs an Ascend setting that this Lite lacks.
        """
        options = self.options
        context = self.lite.Context()
        context.target = [self.device]
        if options.get("threads"):
            context.cpu.thread_num = options["threads"]
        if self.device == "ascend":
            ascend = context.ascend
            ascend.device_id = options.get("device_id") or 0
            for attribute in ("rank_id", "provider"):
                value = options.get(attribute)
                if attribute == "provider":
                    value = value or self.choice.get("provider")
                if value in (None, "") or (attribute == "rank_id" and not value):
                    continue
                if not hasattr(ascend, attribute):
                    raise ToolchainError(
                        "MindSpore Lite {version} has no Ascend setting {name}; 2.1 and newer do.",
                        version=self.version,
                        name=attribute,
                    )
                setattr(ascend, attribute, value)
        return context

    def declare(self, graphs: Sequence[Graph]) -> None:
        """Before anything is built: graphs on Ascend share one copy of the weights, where Lite can.

        `ModelGroup` (2.1 and newer) has to know its models before they are built.
        """
        group = getattr(self.lite, "ModelGroup", None)
        if group is None or self.device != "ascend" or len(graphs) < 2:
            return
        self.group = group(self.lite.ModelGroupFlag.SHARE_WEIGHT)
        self.models = {graph["path"]: self.lite.Model() for graph in graphs}
        self.group.add_model(list(self.models.values()))

    def build_arguments(self, graph: Graph) -> dict[str, str]:
        """Keyword arguments of `build_from_file` for a graph; what is generated goes to a file."""
        entry = self.choice.get("graphs", {}).get(graph["path"]) or {}
        if "path" in entry:
            return {"config_path": entry["path"]}
        sections = entry.get("sections")
        if not sections:
            return {}
        if self.scratch is None:
            self.scratch = tempfile.TemporaryDirectory(prefix="glmlite-")
        name = os.path.basename(graph["path"]) + ".ini"
        path = os.path.join(self.scratch.name, name)
        lines = []
        for section, values in sections.items():
            lines += ["[%s]" % section] + ["%s=%s" % pair for pair in values.items()] + [""]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        return {"config_path": path}

    def load(self, graph: Graph) -> Any:
        """Build one graph.

        Raises:
            ToolchainError: Lite refuses it; where the MindIR's version is why, that is said.
        """
        path = graph["path"]
        limit = max_mindir_version(self.version)
        try:
            found = mindir.read_version(path)
        except (mindir.MindIRError, OSError) as error:
            raise ToolchainError(
                "{path} is no MindIR: {error}", path=path, error=str(error)
            ) from error
        if limit is not None and found > limit:
            raise self._too_new(graph, found)
        model = self.models.get(path) or self.lite.Model()
        arguments = self.build_arguments(graph)
        try:
            model.build_from_file(path, self.lite.ModelType.MINDIR, self.context(), **arguments)
        except Exception as error:
            raise ToolchainError(
                "MindSpore Lite {version} cannot build {path} on {device}: {error}",
                hint="Export with a MindSpore no newer than this Lite "
                "(this graph: MindSpore {producer}, MindIR version {found}).",
                version=self.version,
                path=path,
                device=self.device,
                error=first_words(error),
                producer=graph.get("producer") or "?",
                found=found,
            ) from error
        return model

    def _too_new(self, graph: Graph, found: int) -> ToolchainError:
        return ToolchainError(
            "{path} is MindIR version {found} (written by MindSpore {producer}); MindSpore Lite "
            "{version} reads versions up to {limit}.",
            hint="Let this Lite's own converter make its graphs: glmlite convert-lite BUNDLE "
            "--output DIR. Or export again with a MindSpore no newer than this Lite: "
            "glmlite export … --toolchain .toolchain/bin/python",
            path=graph["path"],
            found=found,
            producer=graph.get("producer") or "?",
            version=self.version,
            limit=max_mindir_version(self.version),
        )

    def new_cache(self, arrays: Sequence[NDArray[Any]]) -> CacheData:
        """Arrays of their own, or Tensors on the device."""
        if self.on_device:
            try:
                device = "ascend:%d" % (self.options.get("device_id") or 0)
                return DeviceCache(self.lite, arrays, device)
            except Exception as error:
                self._leave_device(error)
        return [np.array(a) for a in arrays]

    def to_arrays(self, cache: CacheData) -> Sequence[NDArray[Any]]:
        """The cache as arrays, for moving it into longer ones."""
        return cache.read() if isinstance(cache, DeviceCache) else cache

    def _leave_device(self, error: Exception) -> None:
        """From now on caches are arrays of the host; said once, in the log."""
        self.on_device = False
        print(
            "glmlite: MindSpore Lite %s does not take device Tensors here; caches go through the "
            "host from now on: %s" % (self.version, first_words(error)),
            file=sys.stderr,
        )

    def count_inputs(self, model: Any, graph: Graph) -> int:
        """As the built model says: variables are no inputs any more."""
        return len(model.get_inputs())

    def cache_dtype(self, model: Any, graph: Graph) -> np.dtype[Any]:
        """The dtype of the graph's cache inputs: Lite turns float16 ones into float32 on x86."""
        name = str(model.get_inputs()[3].dtype).upper()
        return np.dtype(np.float16 if "FLOAT16" in name else np.float32)

    def run(self, model: Any, rows: Rows, cache: CacheData) -> NDArray[Any]:
        """Run one step; see `Backend.run`.

        Lite keeps pointers into what it is given and reuses the memory of what it returns, so the
        inputs stay referenced here and every output is copied.
        """
        rows = [np.ascontiguousarray(row) for row in rows]
        if not isinstance(cache, DeviceCache):
            return self._run_on_host(model, rows, cache)
        if self.on_device and self.runs.knows(model):
            try:
                return self.runs.run(model, rows, cache)
            except Exception as error:
                self._leave_device(error)
        arrays = cache.read()
        logits = self._run_on_host(model, rows, arrays)
        cache.write(arrays)
        if self.on_device:
            self.runs.learn(model, logits)
        return logits

    def _run_on_host(self, model: Any, rows: Rows, cache: CacheData) -> NDArray[Any]:
        inputs = model.get_inputs()
        arrays = [*rows, *cache]
        for tensor, array in zip(inputs, arrays):
            tensor.set_data_from_numpy(array)
        outputs = model.predict(inputs)
        if len(outputs) != len(cache) + 1:
            raise ToolchainError(
                "MindSpore Lite returned {found} outputs; the graph has {expected}.",
                found=len(outputs),
                expected=len(cache) + 1,
            )
        for array, output in zip(cache, outputs[1:]):
            np.copyto(array, output.get_data_to_numpy().reshape(array.shape))
        return np.array(outputs[0].get_data_to_numpy())

    def share_state(self, first: Any, second: Any) -> None:
        """On Ascend the graphs of one `ModelGroup` share Parameters; the CPU keeps none.

        Raises:
            ToolchainError: there is no group.
        """
        if self.group is None:
            raise ToolchainError(
                "MindSpore Lite {version} on {device} does not keep a cache inside graphs.",
                hint="Use --engine mindspore, or export the model with glmlite: its graphs take "
                "the cache as inputs and run everywhere.",
                version=self.version,
                device=self.device,
            )

    def close(self) -> None:
        """Let go of the group, its models and the generated files."""
        self.group, self.models = None, {}
        if self.scratch is not None:
            self.scratch.cleanup()
            self.scratch = None

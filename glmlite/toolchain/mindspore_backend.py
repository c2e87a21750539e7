"""Runs MindIR graphs on MindSpore itself."""

import numpy as np

from .errors import ToolchainError


def set_cpu(ms):
    """Graph mode on the CPU, by whichever call this MindSpore has."""
    ms.set_context(mode=ms.GRAPH_MODE)
    if hasattr(ms, "set_device"):
        ms.set_device("CPU")
    else:
        ms.set_context(device_target="CPU")


class MindSporeBackend:
    """Loads graphs as `nn.GraphCell`; the caches stay MindSpore Tensors, weights are shared."""

    name = "mindspore"

    def __init__(self, options):
        try:
            import mindspore as ms
        except ImportError as error:
            raise ToolchainError(
                "MindSpore cannot be imported: {error}",
                hint="Install it (pip install 'glmlite[mindspore]'), or name an interpreter that "
                "has it: --toolchain PATH. `glmlite doctor` lists what was found.",
                error=str(error),
            )
        self.ms = ms
        self.version = ms.__version__
        set_cpu(ms)
        if options.get("threads"):
            ms.set_context(runtime_num_threads=options["threads"])
        self._shared = {}

    def load(self, graph):
        """Load one MindIR; later graphs take the first one's weights instead of their own."""
        ms = self.ms
        try:
            net = ms.nn.GraphCell(ms.load(graph["path"]), params_init=self._shared or None)
        except Exception as error:
            raise ToolchainError(
                "MindSpore {version} cannot load {path}: {error}",
                hint="Export it with the MindSpore that will run it.",
                version=self.version,
                path=graph["path"],
                error=str(error).strip()[:2000],
            )
        if not self._shared:
            self._shared = dict(net.parameters_dict())
        return net

    def new_cache(self, arrays):
        """Tensors of their own from arrays."""
        return [self.ms.Tensor(np.array(a)) for a in arrays]

    def to_arrays(self, cache):
        """The cache as arrays, for moving it into longer ones."""
        return [tensor.asnumpy() for tensor in cache]

    def cache_dtype(self, net, graph):
        """The dtype of the graph's cache inputs, as exported."""
        return np.dtype(graph["dtype"])

    def run(self, net, rows, cache):
        """Run one step.

        Args:
            net: from `load`. rows: input_ids, position, valid_length. cache: from `new_cache`;
                updated in place.

        Returns:
            logits as an array of its own.
        """
        outputs = net(*[self.ms.Tensor(row) for row in rows], *cache)
        cache[:] = outputs[1:]
        return np.array(outputs[0].asnumpy())

    def close(self):
        """Drop the weights."""
        self._shared = {}

"""How the weights file stores quantized matrices for ONNX Runtime, and whether it does.

`index.json` names each such parameter in its map "quantized" and says how it is stored. The file
holds no tensor of the parameter's own name then, but companions:

    block   NAME.packed uint8 [out, blocks, block_size * bits / 8], NAME.scale float32 [out, blocks]
            and, unless "symmetric", NAME.zero_point uint8 [out, ceil(blocks * bits / 8)]: a real
            value is (q - zero_point) * scale, q unsigned, zero_point 2^(bits - 1) if symmetric.
            Of two 4-bit numbers the first lies in the lower half of a byte. Columns that fill up
            the last block are no part of the matrix.
    column  NAME.column [in, out], NAME.scale float32 [out]: q * scale with int8 in -64 … 64
            ("bits" 7), (q - 128) * scale with uint8 ("bits" 8). NAME.outlier float32 [k, out] holds
            the columns "outliers" of the matrix, ascending, which are 0 among the integers.
    row     NAME.rows int8 [out, in], NAME.scale float32 [out]: q * scale.

A smoothed matrix has "folded_into" and NAME.smoothing float32 [in], s: its columns were multiplied
by s, and the rows "rows" (first, behind the last) of the parameter "folded_into" divided by it.

A second set of weights in the same file, for another graph, has names that begin with a prefix such
as `prefill/`; what it lacks is taken from the first.

Seven bits are what is right on every CPU: kernels for AVX2 add two products of u8 and s8 in 16 bits
with saturation, and 2 * 255 * 64 still fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKED, SCALE, ZERO_POINT = ".packed", ".scale", ".zero_point"
COLUMN, OUTLIER, ROWS, SMOOTHING = ".column", ".outlier", ".rows", ".smoothing"
BLOCK_SIZES = (16, 32, 64, 128, 256)
PREFILL = "prefill/"
PREFIXES = ("", PREFILL)
# Keys that a form may have, beside "scheme", "bits" and "shape".
_KEYS = {
    "block": {"block_size", "symmetric", "accuracy_level"},
    "column": {"outliers"},
    "row": set(),
}  # type: dict[str, set[str]]
_BITS = {"block": (4, 8), "column": (7, 8), "row": (8,)}


def block_count(columns: int, block_size: int) -> int:
    """Blocks that a row of so many columns takes; the last one may be filled up."""
    return -(-columns // block_size)


def zero_point_bytes(blocks: int, bits: int) -> int:
    """Bytes of one row's zero points."""
    return -(-blocks * bits // 8)


def companions(name: str, form: Mapping[str, Any]) -> dict[str, tuple[str, list[int]]]:
    """Names, dtypes and shapes of the tensors that store a quantized parameter.

    Args:
        name: of the parameter, prefix included.
        form: its entry in "quantized"; checked.
    """
    rows, columns = form["shape"]
    scheme, bits = form["scheme"], form["bits"]
    result = {}  # type: dict[str, tuple[str, list[int]]]
    if scheme == "block":
        size = form["block_size"]
        blocks = block_count(columns, size)
        result[name + PACKED] = ("uint8", [rows, blocks, size * bits // 8])
        result[name + SCALE] = ("float32", [rows, blocks])
        if not form["symmetric"]:
            result[name + ZERO_POINT] = ("uint8", [rows, zero_point_bytes(blocks, bits)])
    elif scheme == "column":
        result[name + COLUMN] = ("int8" if bits == 7 else "uint8", [columns, rows])
        result[name + SCALE] = ("float32", [rows])
        if form.get("outliers"):
            result[name + OUTLIER] = ("float32", [len(form["outliers"]), rows])
    else:
        result[name + ROWS] = ("int8", [rows, columns])
        result[name + SCALE] = ("float32", [rows])
    if "folded_into" in form:
        result[name + SMOOTHING] = ("float32", [columns])
    return result


def check_quantized(
    quantized: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, Mapping[str, Any]]
) -> None:
    """See that the map is well-formed and that every companion is there.

    Args:
        quantized: the index's map.
        tensors: the index's tensors; checked.

    Raises:
        ValueError: says what is wrong.
        KeyError, TypeError, AttributeError: an entry is malformed.
    """
    for name, form in quantized.items():
        _check_form(name, form)
        if name in tensors:
            raise ValueError("%s is both plain and quantized" % (name,))
        for part, (dtype, shape) in companions(name, form).items():
            found = tensors.get(part)
            if found is None or found["dtype"] != dtype or found["shape"] != shape:
                raise ValueError("%s is quantized, and %s does not fit it" % (name, part))
    for name, form in quantized.items():
        if "folded_into" in form:
            _check_fold(name, form, quantized, tensors)


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _check_form(name: str, form: Mapping[str, Any]) -> None:
    scheme, shape = form["scheme"], form["shape"]
    if scheme not in _KEYS or form["bits"] not in _BITS[scheme] or isinstance(form["bits"], bool):
        raise ValueError("%s: scheme %r, bits %r" % (name, scheme, form["bits"]))
    unknown = set(form) - {"scheme", "bits", "shape", "folded_into", "rows"} - _KEYS[scheme]
    if unknown:
        raise ValueError("%s: unknown keys %s" % (name, ", ".join(sorted(unknown))))
    if not isinstance(shape, list) or len(shape) != 2:
        raise ValueError("%s: shape %r" % (name, shape))
    if not all(_is_whole(n, 1, 2**31 - 1) for n in shape):
        raise ValueError("%s: shape %r" % (name, shape))
    if scheme == "block":
        size, symmetric = form["block_size"], form["symmetric"]
        if size not in BLOCK_SIZES or not isinstance(symmetric, bool):
            raise ValueError("%s: block_size %r, symmetric %r" % (name, size, symmetric))
        if not _is_whole(form.get("accuracy_level", 4), 0, 4):
            raise ValueError("%s: accuracy_level %r" % (name, form["accuracy_level"]))
    outliers = form.get("outliers", [])
    if not isinstance(outliers, list) or not all(_is_whole(i, 0, shape[1] - 1) for i in outliers):
        raise ValueError("%s: outliers %r" % (name, str(outliers)[:80]))
    if outliers != sorted(set(outliers)):
        raise ValueError("%s: outliers are not ascending" % (name,))


def _check_fold(
    name: str,
    form: Mapping[str, Any],
    quantized: Mapping[str, Mapping[str, Any]],
    tensors: Mapping[str, Mapping[str, Any]],
) -> None:
    target = form["folded_into"]
    holder = quantized.get(target) or tensors.get(target)
    first, behind = form["rows"]
    if (
        holder is None
        or not _is_whole(first, 0, holder["shape"][0])
        or not _is_whole(behind, first, holder["shape"][0])
        or behind - first != form["shape"][1]
    ):
        raise ValueError("%s was folded into %s, which does not fit it" % (name, target))

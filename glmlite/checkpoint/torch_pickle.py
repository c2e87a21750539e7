"""What a torch checkpoint's data.pkl says, worked out without executing any of it.

A pickle is a program for a stack machine whose instructions can call anything importable. This is
a machine of its own that knows only what `torch.save(model.state_dict(), …)` writes: plain values,
containers, and the few names below, which become inert records. Python's pickle module is not
involved; `pickletools.genops` only splits the program into instructions.

Sources: Lib/pickletools.py of CPython; torch/_utils.py and torch/serialization.py of PyTorch.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import pickletools
from typing import Any

from glmlite.checkpoint.tensor_file import MAX_SIZE
from glmlite.checkpoint.zip_directory import Fail
from glmlite.i18n import _

# torch's storage classes, by the names that safetensors has for their elements.
_STORAGES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "CharStorage": "I8", "ByteStorage": "U8", "ShortStorage": "I16", "IntStorage": "I32",
    "LongStorage": "I64", "BoolStorage": "BOOL",
}  # fmt: skip
_CONSTANTS = {
    "BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "FLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING",
}  # fmt: skip
_VALUES: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# A 6B model's state dict takes about 5,000; each may leave an object of 64 bytes and more behind.
_MAX_STEPS = 1 << 19


@dataclasses.dataclass(frozen=True)
class Storage:
    """A record of the file: `numel` elements of `dtype` in `data/<key>`."""

    dtype: str
    key: str
    numel: int


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Name:
    """A global that the program mentions; nothing is imported."""

    module: str
    name: str


_DICT = _Name("collections", "OrderedDict")
_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_ALLOWED = {_DICT, _TENSOR, _PARAMETER, *(_Name("torch", name) for name in _STORAGES)}
_MARK = object()


class ForbiddenError(Exception):
    """The program wants what no tensor needs; `wanted` names it."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def interpret(program: bytes, fail: Fail) -> Any:
    """The value that a pickle describes: plain values, lists, dicts and `StoredTensor`s.

    Args:
        program: the pickle, bounded in size by the caller.
        fail: makes the error for a damaged program out of a reason.

    Raises:
        ForbiddenError: an instruction or a name that tensors do not need.
        Exception: what `fail` made.
    """
    machine = _Machine()
    try:
        steps = pickletools.genops(io.BytesIO(program))
        for opcode, argument, _position in itertools.islice(steps, _MAX_STEPS):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise fail(_("its data.pkl is damaged")) from error
    raise fail(_("its data.pkl is damaged"))


class _Machine:
    """Stack and memo of one run."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(argument)
        elif name in _VALUES:
            stack.append(_VALUES[name])
        elif name in _TUPLES:
            stack.append(self._pop_tuple(_TUPLES[name]))
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if name == "EMPTY_DICT" else [])
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop_tuple(2) if name == "SETITEM" else self._pop_to_mark()
            _set_items(stack[-1], items)
        elif name in ("APPEND", "APPENDS"):
            items = self._pop_tuple(1) if name == "APPEND" else self._pop_to_mark()
            _checked(stack[-1], list).extend(items)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, attribute = argument.split(" ") if argument else self._pop_tuple(2)
            stack.append(_allowed(module, attribute))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            function, arguments = self._pop_tuple(2)
            stack.append(_apply(function, _checked(arguments, tuple)))
        elif name == "BUILD":
            # Attributes of a state dict, such as _metadata: no tensors.
            stack.pop()
            _checked(stack[-1], dict)
        else:
            raise ForbiddenError(name)

    def _pop_tuple(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("empty stack")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        items.reverse()
        return items


def _allowed(module: Any, name: Any) -> _Name:
    wanted = _Name(_checked(module, str), _checked(name, str))
    if wanted not in _ALLOWED:
        raise ForbiddenError(f"{wanted.module}.{wanted.name}")
    return wanted


def _apply(function: Any, arguments: tuple[Any, ...]) -> Any:
    """What a call of one of the known names gives; it is never made."""
    if function == _DICT and not arguments:
        return {}
    if function == _PARAMETER:
        return _checked(arguments[0], StoredTensor)
    if function == _TENSOR:
        storage, offset, shape, stride = arguments[:4]
        return StoredTensor(
            _checked(storage, Storage), _natural(offset), _naturals(shape), _naturals(stride)
        )
    raise ForbiddenError(f"{function.name}()" if isinstance(function, _Name) else "REDUCE")


def _storage(reference: Any) -> Storage:
    """The persistent id ("storage", class, key, device, elements)."""
    kind, storage, key, _device, numel = _checked(reference, tuple)
    if kind != "storage" or _checked(storage, _Name).name not in _STORAGES:
        raise ValueError("no storage")
    return Storage(_STORAGES[storage.name], _checked(key, str), _natural(numel))


def _set_items(target: Any, items: Any) -> None:
    _checked(target, dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Other keys could be tuples nested so deeply that hashing them takes forever.
        if type(key) not in (str, int):
            raise TypeError("a key that is no name")
        target[key] = value


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"no {kind.__name__}")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_SIZE:
        raise ValueError("no size")
    return value


def _naturals(values: Any) -> tuple[int, ...]:
    return tuple(_natural(value) for value in _checked(values, tuple))

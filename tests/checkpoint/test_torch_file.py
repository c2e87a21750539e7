"""`.bin` and `.pth`: what torch writes is read; nothing is executed, unpacked or overallocated."""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glmlite.checkpoint.torch_file import TorchFile
from glmlite.checkpoint.torch_pickle import ForbiddenError, interpret
from glmlite.errors import CheckpointError
from tests.checkpoint import torch_zip
from tests.checkpoint.torch_zip import Storage, Tensor, records_of, save, state_dict, write_records

W = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_of_every_type(tmp_path: Path, protocol: int) -> None:
    bits = (W.view(np.uint32) >> 16).astype(np.uint16)
    stored = {"w": W, "h": W.astype(np.float16), "b": bits, "i": np.arange(-3, 3, dtype=np.int8)}
    file = TorchFile(save(tmp_path / "x.bin", stored, protocol))
    assert [e.dtype for e in file.entries.values()] == ["F32", "F16", "BF16", "I8"]
    for name in ("w", "h", "b"):
        np.testing.assert_array_equal(file.read(name), W)
        assert file.read(name).dtype == (np.float16 if name == "h" else np.float32)
    np.testing.assert_array_equal(file.read_int8("i"), stored["i"])
    with pytest.raises(CheckpointError, match="i has dtype I8"):
        file.read("i")


def test_real_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    w = torch.arange(12.0).reshape(3, 4)
    tensors = {"w": w, "row": w[1], "t": w.t(), "b": w.bfloat16(), "p": torch.nn.Parameter(w)}
    torch.save(tensors, tmp_path / "x.bin")
    file = TorchFile(tmp_path / "x.bin")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(file.read(name), tensor.detach().float().numpy())
    torch.save(tensors, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"before 1\.6"):
        TorchFile(tmp_path / "old.bin")


def test_shared_storages_views_and_parameters(tmp_path: Path) -> None:
    shared = Storage(W.reshape(-1))
    tensors = {
        "all": Tensor(shared, (3, 4), (4, 1)),
        "row": Tensor(shared, (4,), (1,), offset=4),
        "transposed": Tensor(shared, (4, 3), (1, 4)),
        "tall": Tensor(shared, (1, 4, 1, 3), (99, 1, 7, 4)),
        "parameter": Tensor(shared, (2, 4), (4, 1), offset=4, parameter=True),
    }
    path = save(tmp_path / "x.pth", tensors)
    assert path.stat().st_size < 2000  # torch stores a shared storage once
    file = TorchFile(path)
    np.testing.assert_array_equal(file.read("all"), W)
    np.testing.assert_array_equal(file.read("row"), W[1])
    np.testing.assert_array_equal(file.read("transposed"), W.T)
    np.testing.assert_array_equal(file.read("tall"), W.T[None, :, None])
    np.testing.assert_array_equal(file.read("parameter"), W[1:])
    assert file.read("transposed").flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "message"),
    [
        ((3, 2), (4, 1), 0, "is a view"),
        ((10**6, 12), (0, 1), 0, "larger than its storage"),
        ((2, 3), (0, 1), 0, "is a view"),
        ((3, 4), (4, 1), 1, "larger than its storage"),
        ((2**40, 2**40), (1, 1), 0, "larger than its storage"),
        ((0, 4), (4, 1), 0, "shape of tensor w"),
        ((3,), (4, 1), 0, "shape of tensor w"),
        ((-3, 4), (4, 1), 0, "data.pkl is damaged"),
        ((1,) * 20, (1,) * 20, 0, "shape of tensor w"),
    ],
)
def test_views_that_are_no_plain_tensors(
    tmp_path: Path, shape: Any, stride: Any, offset: int, message: str
) -> None:
    view = Tensor(Storage(W.reshape(-1)), shape, stride, offset)
    with pytest.raises(CheckpointError, match=message):
        TorchFile(save(tmp_path / "x.bin", {"w": view}))


def test_a_storage_that_claims_more_than_it_has(tmp_path: Path) -> None:
    view = Tensor(Storage(W.reshape(-1), claimed=10**12), (10**12,), (1,))
    with pytest.raises(CheckpointError, match="4000000000000 bytes, but it has 48"):
        TorchFile(save(tmp_path / "x.bin", {"w": view}))


def test_wrapped_state_dicts_and_other_values(tmp_path: Path) -> None:
    inner = state_dict({"w": W})
    for i, value in enumerate(({"state_dict": inner, "epoch": 3}, {"module": inner, "x": [1.5]})):
        file = TorchFile(write_records(tmp_path / f"{i}.pth", records_of(value)))
        np.testing.assert_array_equal(file.read("w"), W)
    beside = {"w": torch_zip.tensor(W), "epoch": 3, "note": "n", "none": None, "flag": True}
    file = TorchFile(write_records(tmp_path / "x.pth", records_of(beside)))
    assert list(file.entries) == ["w"]
    assert file.left_out == ("epoch", "note", "none", "flag")
    for value in ([1], {"epoch": 3}, {"a": {"w": torch_zip.tensor(W)}}, 7):
        with pytest.raises(CheckpointError, match="no state dict"):
            TorchFile(write_records(tmp_path / "bad.pth", records_of(value)))


class _Call:
    """Asks the reader to call something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_a_call_is_refused_by_name_and_not_made(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "executed"
    program = pickle.dumps({"w": _Call(os.system, f"touch {trace}")}, protocol)
    path = write_records(tmp_path / "x.bin", {"archive/data.pkl": program})
    with pytest.raises(
        CheckpointError, match=r"x\.bin .* asks for (posix\.system|DICT)\."
    ) as error:
        TorchFile(path)
    assert "executes nothing" in str(error.value)
    assert not trace.exists()
    # The file does mean it; that is read off its opcodes, for no pickle is ever executed here.
    assert "REDUCE" in {opcode.name for opcode, _, _ in pickletools.genops(program)}


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02c__builtin__\nexec\n(X\x01\x00\x00\x001tR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.",  # OrderedDict(1)
        b"\x80\x02ctorch\nFloatStorage\n)R.",  # a storage is no function
        b"(S'ls'\nios\nsystem\n.",
        b"\x80\x02\x82\x01.",  # an extension of the registry
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",  # NEWOBJ
        b"Pid\n.",
        b"\x80\x05\x97.",  # a buffer from outside
        b"\x80\x02C\x03abc.",
    ],
)
def test_other_ways_to_ask_for_more(program: bytes) -> None:
    with pytest.raises(ForbiddenError):
        interpret(program, AssertionError)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"\x80\x02",
        b".",
        b"garbage",
        b"\x80\x02K\x01",
        b"\x80\x02h\x05.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",  # a text of 2 GB
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
        b"\x80\x02Q.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02\x85.",
        b"\x80\x02t.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02})K\x01s.",  # a tuple as a key
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02K\x01K\x02K\x03s.",
        b"\x80\x02}}b\x85b.",
        b"I" + b"9" * 10_000 + b"\n.",
    ],
)
def test_damaged_programs(program: bytes) -> None:
    class DamagedError(Exception):
        pass

    with pytest.raises(DamagedError):
        interpret(program, DamagedError)


def test_deep_and_doubling_programs_end(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    doubling = b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 1000 + b"."
    for program in (deep, doubling):
        path = write_records(tmp_path / "x.bin", {"a/data.pkl": program})
        with pytest.raises(CheckpointError, match="no state dict"):
            TorchFile(path)


def test_zip_bombs_are_not_unpacked(tmp_path: Path) -> None:
    records = records_of(state_dict({"w": np.zeros(1 << 20, np.float32)}))
    for name in ("archive/data.pkl", "archive/data/0"):
        path = write_records(tmp_path / "x.bin", records, compress=[name])
        with pytest.raises(CheckpointError, match=f"{name}' is compressed"):
            TorchFile(path)


def test_large_files_have_zip64_directories(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 64)
    file = TorchFile(save(tmp_path / "x.bin", {"w": W, "v": W + 1}))
    np.testing.assert_array_equal(file.read("v"), W + 1)
    assert b"PK\6\6" in (tmp_path / "x.bin").read_bytes()


def _patch(data: bytes, at: int, form: str, value: int) -> bytes:
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def test_damaged_zip_files(tmp_path: Path) -> None:
    good = save(tmp_path / "good.bin", {"w": W}).read_bytes()
    end, entry = good.rfind(b"PK\5\6"), good.find(b"PK\1\2")
    cases = {
        "no zip directory": good[: end - 5],
        "claims 4294967295 bytes": _patch(good, end + 12, "<L", 0xFFFFFFFF),
        "directory lies outside": _patch(good, end + 16, "<L", len(good)),
        "directory is damaged": _patch(good, entry, "<L", 7),
        "encrypted": _patch(good, entry + 8, "<H", 1),
        "is compressed": _patch(good, entry + 10, "<H", 8),
        "pkl' is compressed": _patch(good, entry + 24, "<L", 10**9),
        "lies outside the file": _patch(good, entry + 42, "<L", len(good) - 3),
        "contradict": _patch(good, entry + 42, "<L", 7),
        "no zip file": b"PK" + good[3:],
        "pkl' lies outside": _patch(_patch(good, entry + 20, "<L", 10**9), entry + 24, "<L", 10**9),
    }
    for message, data in cases.items():
        path = tmp_path / "bad.bin"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=message) as error:
            TorchFile(path)
        assert "bad.bin is not a valid torch checkpoint" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"archive/data/0": None}, "data of tensor w is missing"),
        ({"archive/data/0": b"\0" * 40}, "48 bytes, but it has 40"),
        ({"archive/data.pkl": None}, r"no data\.pkl"),
        ({"other/data.pkl": b"N."}, r"no data\.pkl, or several"),
        ({"archive/byteorder": b"big"}, "big-endian"),
        ({"archive/data.pkl": b"\0" * ((16 << 20) + 1)}, r"data\.pkl has 16777217 bytes"),
    ],
)
def test_files_that_contradict_themselves(tmp_path: Path, change: Any, message: str) -> None:
    records = records_of(state_dict({"w": W})) | change
    path = tmp_path / "x.bin"
    write_records(path, {name: data for name, data in records.items() if data is not None})
    with pytest.raises(CheckpointError, match=message):
        TorchFile(path)


def test_names_cannot_paint_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        TorchFile(save(tmp_path / "x.bin", {"a\x1b[31m": W}))
    assert "\x1b" not in str(error.value)
    program = b"\x80\x02c\x1b[31mos\nsystem\n."
    with pytest.raises(CheckpointError) as error:
        TorchFile(write_records(tmp_path / "y.bin", {"a/data.pkl": program}))
    assert "\x1b" not in str(error.value)


def test_legacy_files_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "old.bin"
    magic, protocol, info = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}
    path.write_bytes(b"".join(pickle.dumps(v, 2) for v in (magic, protocol, info)))
    with pytest.raises(CheckpointError, match=r"before 1\.6.*\n.*weights_only=True"):
        TorchFile(path)


def test_any_flipped_byte_gives_tensors_or_one_error(tmp_path: Path) -> None:
    good = save(tmp_path / "x.bin", {"w": W, "v": W.astype(np.float16)}).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(600):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        path = tmp_path / "flipped.bin"
        path.write_bytes(data[: rng.integers(len(data)) if rng.random() < 0.1 else len(data)])
        try:
            file = TorchFile(path)
            for name, entry in file.entries.items():
                assert entry.nbytes <= len(good)
                if entry.dtype in ("F32", "F16"):
                    file.read(name)
        except CheckpointError:
            pass

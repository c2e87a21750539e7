"""Files that ask for far more than they are; run by `test_hostile_memory.py` in a child process.

    python -m tests.checkpoint.hostile_files FOLDER

Opens every file of `write_all` with no more memory than `SPARE` beyond what the imports took, and
prints one JSON object: the file's name -> the class and the first words of what was raised.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from glmlite.checkpoint import adapters, open_checkpoint
from glmlite.exporter.config import Adapter, load_config
from glmlite.model.config import from_huggingface
from glmlite.rank_table.files import read_table
from tests.checkpoint import torch_zip
from tests.checkpoint.adapters.drawing import draw_factors, write_peft
from tests.checkpoint.ckpt_message import value
from tests.checkpoint.torch_zip import Storage, Tensor, save
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

MODEL = MODELS["glm2"]
SPARE = 128 << 20  # bytes; every file below asks for more, or for nothing
WANTED = 256 << 20  # bytes that the bombs unpack to
_W = np.ones(8, np.float32)
_DEVICE = {"device_id": "0", "device_ip": "10.0.0.1", "rank_id": "0"}


def _safetensors(path: Path, header: bytes, length: int | None = None) -> None:
    claimed = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", claimed) + header + bytes(32))


def _entry(shape: list[int], end: int) -> bytes:
    return json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()


def _zip_bomb(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(name, "w") as record:
            for _ in range(WANTED >> 24):
                record.write(bytes(1 << 24))
        archive.writestr("archive/byteorder", "little")


def _pickle(path: Path, program: bytes) -> None:
    torch_zip.write_records(path, {"archive/data.pkl": program})


def _bomb_yaml(line: Callable[[str, str], str], levels: int = 30) -> str:
    lines, last = ["run_mode: export", "k: &k {x: 1, y: 2}"], "k"
    for i in range(levels):
        lines.append(line(f"k{i}", last))
        last = f"k{i}"
    return "\n".join([*lines, f"model: {{model_config: *{last}}}"])


def _table(devices: list[dict[str, str]]) -> str:
    server = {"server_id": "10.0.0.1", "device": devices, "host_nic_ip": "reserve"}
    return json.dumps({"version": "1.0", "server_count": "1", "server_list": [server]})


def _adapter(folder: Path, **config: Any) -> None:
    write_peft(folder, draw_factors(MODEL, 4), **({"r": 4, "lora_alpha": 8} | config))


def write_all(folder: Path) -> None:
    """Every hostile file, and `base`, a checkpoint for the adapters."""
    huge = 2**40
    (folder / "length.ckpt").write_bytes(b"\x0a" + b"\xff" * 8 + b"\x7f" + value("w", _W))
    (folder / "shape.ckpt").write_bytes(value("w", _W, [huge, huge]))
    (folder / "name.ckpt").write_bytes(value("n" * 1_000_000, _W))
    (folder / "count.ckpt").write_bytes(
        b"".join(value(f"t{i}", b"x", [], "str") for i in range(70_000))
    )
    _zip_bomb(folder / "bomb_pickle.bin", "archive/data.pkl")
    _zip_bomb(folder / "bomb_data.bin", "archive/data/0")
    save(folder / "storage.bin", {"w": Tensor(Storage(_W, claimed=huge), (huge,), (1,))})
    save(folder / "view.bin", {"w": Tensor(Storage(_W), (huge, huge), (0, 1))})
    _pickle(folder / "lists.bin", b"\x80\x02" + b"]" * (8 << 20) + b".")
    _pickle(folder / "memo.bin", b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 100_000 + b".")
    _pickle(folder / "text.bin", b"\x80\x02X\xff\xff\xff\x7fabc.")
    _safetensors(folder / "length.safetensors", b"{}", length=1 << 60)
    _safetensors(folder / "shape.safetensors", _entry([huge, huge], 32))
    _safetensors(folder / "offsets.safetensors", _entry([huge], 4 * huge))
    _safetensors(folder / "digits.safetensors", _entry([10**4000, 10**4000], 32))
    _safetensors(folder / "lists.safetensors", b'{"w":[' + b"[]," * (20 << 20) + b"[]]}")
    (folder / "index").mkdir()
    (folder / "outside.safetensors").symlink_to("/dev/zero")
    (folder / "index" / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"w": "../outside.safetensors"}})
    )
    (folder / "zeros").mkdir()
    (folder / "zeros" / "model.safetensors").symlink_to("/dev/zero")
    doubled = "{0}: &{0} [*{1}, *{1}]".format
    (folder / "lists.yaml").write_text(_bomb_yaml(doubled))
    (folder / "maps.yaml").write_text(_bomb_yaml("{0}: &{0} {{p: *{1}, q: *{1}}}".format))
    (folder / "merges.yaml").write_text(_bomb_yaml("{0}: &{0} {{<<: [*{1}, *{1}]}}".format))
    (folder / "itself.yaml").write_text("run_mode: export\nmodel: &m {model_config: *m}\n")
    (folder / "digits.yaml").write_text(
        f"model: {{model_config: {{seq_length: 0x{'f' * 99_999}}}}}"
    )
    (folder / "deep.yaml").write_text("model: " + "[" * 20_000)
    (folder / "large.yaml").write_text("model: [" + "[]," * (4 << 20) + "]")
    (folder / "large_table.json").write_text(_table([_DEVICE] * 300_000))
    (folder / "same_table.json").write_text(_table([_DEVICE] * 30_000))
    (folder / "deep_table.json").write_text("[" * 4_000_000)
    write_checkpoint(MODEL, folder / "base")
    _adapter(folder / "rank_adapter", r=10**12)
    _adapter(folder / "digits_adapter", r=10**400, use_rslora=True)
    _adapter(folder / "alpha_adapter", lora_alpha=10**400)
    (folder / "factor_adapter").mkdir()
    save_file({"a": _W}, folder / "factor_adapter" / "adapter_model.safetensors")
    (folder / "factor_adapter" / "adapter_config.json").write_text('{"r": ' + "9" * 5000 + "}")


def _attempts(folder: Path) -> dict[str, Callable[[], object]]:
    config = from_huggingface(MODEL.config)

    def adapt(path: Path) -> object:
        adapted = adapters.adapt(open_checkpoint(folder / "base"), config, [Adapter(path)])
        return [adapted.read(name).sum() for name in adapted.shapes()]

    found: dict[str, Callable[[], object]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".yaml":
            found[path.name] = lambda path=path: load_config(path)  # type: ignore[misc]
        elif path.suffix == ".json":
            found[path.name] = lambda path=path: read_table(path)  # type: ignore[misc]
        elif path.name.endswith("_adapter"):
            found[path.name] = lambda path=path: adapt(path)  # type: ignore[misc]
        elif path.name not in ("base", "outside.safetensors"):
            found[path.name] = lambda path=path: open_checkpoint(path)  # type: ignore[misc]
    return found


def limit_memory(spare: int) -> None:
    """Let this process take `spare` bytes more of private memory than it has now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (held,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData")]
    limit = held * 1024 + spare
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _try(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:4000]}"
    return "nothing was raised"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    attempts = _attempts(target)
    limit_memory(SPARE)
    attempts["control"] = lambda: bytearray(2 * SPARE)
    print(json.dumps({name: _try(attempt) for name, attempt in attempts.items()}))

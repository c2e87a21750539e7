"""Reading and writing RANK_TABLE_FILE, and asking this server for its devices' addresses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from glmlite.errors import ConfigError
from glmlite.i18n import _
from glmlite.rank_table.making import parse_addresses
from glmlite.rank_table.table import Device, RankTable, Server, is_address

HCCN_CONF = Path("/etc/hccn.conf")
_TOOL = "hccn_tool"
_TOOL_SECONDS = 30
_MAX_BYTES = 4 << 20
_MAX_NAME = 255


def read_table(path: Path) -> RankTable:
    """Read and check a rank table.

    Raises:
        ConfigError: no rank table, or one that would not work; names the file.
    """
    data = _read_json(path)
    if "group_list" in data and "server_list" not in data:
        _invalid(path, _("this is ModelArts' own format (group_list), which HCCL reads as it is"))
    listed = data.get("server_list")
    if not isinstance(listed, list) or not listed:
        _invalid(path, _("it has no server_list"))
    servers = tuple(_server(path, entry) for entry in listed)
    if str(data.get("server_count")) != str(len(servers)):
        reason = _(
            "server_count is {told}, but it lists {count} servers",
            told=ascii(data.get("server_count"))[:40],
            count=len(servers),
        )
        _invalid(path, reason)
    try:
        return RankTable(servers)
    except ConfigError as error:
        raise ConfigError(
            "{file} would not work as a rank table:\n{problems}",
            hint="Create it anew on its server: glmlite rank-table create --server-ip IP",
            file=path.name,
            problems=error.params["problems"],
        ) from error


def write_table(table: RankTable, path: Path) -> None:
    """Write a rank table, whole or not at all; only another rank table is replaced.

    Raises:
        ConfigError: the place is taken by something else, or cannot be written to.
    """
    if path.exists():
        try:
            replaceable = "server_list" in _read_json(path)
        except ConfigError:
            replaceable = False
        if not replaceable:
            raise ConfigError(
                "{file} exists and is no rank table; it is left alone.",
                hint="Name another file: --output FILE",
                file=path.name,
            )
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(json.dumps(table.to_dict(), indent=4) + "\n", encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise ConfigError(
            "{file} cannot be written: {reason}.",
            file=str(path),
            reason=error.strerror or type(error).__name__,
        ) from error


def read_addresses(files: Sequence[Path], wanted: Sequence[int]) -> dict[int, str]:
    """Device addresses from files, else from hccn_tool, else from /etc/hccn.conf.

    Args:
        files: hccn.conf, or the output of hccn_tool in one file or several.
        wanted: numbers of the devices.

    Raises:
        ConfigError: none of these is there, or holds addresses.
    """
    if files:
        return parse_addresses("\n".join(_read_text(path) for path in files), wanted)
    printed = [_ask_tool(number) for number in wanted]
    if all(is_address(address) for address in printed):
        return dict(zip(wanted, printed, strict=True))
    if HCCN_CONF.is_file():
        return parse_addresses(_read_text(HCCN_CONF), wanted)
    raise ConfigError(
        "Neither {tool} nor {file} tells the addresses of this server's devices.",
        hint="Run it on the Ascend server itself, or give its file: --hccn hccn.conf",
        tool=_TOOL,
        file=str(HCCN_CONF),
    )


def host_address() -> str:
    """This host's address as its own name resolves, like hccl_tools.py.

    Raises:
        ConfigError: the name does not resolve.
    """
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError as error:
        raise ConfigError(
            "This server's own address is not known ({reason}).",
            hint="Give it: --server-ip IP",
            reason=error.strerror or type(error).__name__,
        ) from error


def _ask_tool(number: int) -> str:
    """What hccn_tool says of one device, or nothing where it does not say."""
    try:
        result = subprocess.run(  # noqa: S603 - a fixed command of the Ascend driver
            [_TOOL, "-i", str(number), "-ip", "-g"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TOOL_SECONDS,
            check=True,
        )
        return parse_addresses(result.stdout.decode("utf-8", errors="replace"), [number])[number]
    except (OSError, subprocess.SubprocessError, ConfigError):
        return ""


def _server(path: Path, entry: Any) -> Server:
    name = entry.get("server_id") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        _invalid(path, _("an entry of server_list has no server_id"))
    devices = entry.get("device")
    if not isinstance(devices, list) or not devices:
        _invalid(path, _("server {server} lists no devices", server=name))
    nic = entry.get("host_nic_ip", "reserve")
    if not isinstance(nic, str):
        _invalid(path, _("host_nic_ip of server {server} is no text", server=name))
    return Server(name, tuple(_device(path, d) for d in devices), nic)


def _device(path: Path, entry: Any) -> Device:
    if not isinstance(entry, dict):
        _invalid(path, _("a device is no object"))
    numbers = []
    for key in ("device_id", "rank_id"):
        value = str(entry.get(key))
        if not (value.isascii() and value.isdigit()) or len(value) > 6:
            _invalid(path, _("{key} is {found}, which is no number", key=key, found=ascii(value)))
        numbers.append(int(value))
    address = entry.get("device_ip")
    if not isinstance(address, str) or not is_address(address):
        _invalid(path, _("device_ip is {found}, which is no address", found=ascii(address)[:60]))
    return Device(numbers[0], address, numbers[1])


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            _invalid(path, _("it is too large"))
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "{file} cannot be read: {reason}.",
            file=str(path),
            reason=error.strerror or type(error).__name__,
        ) from error
    except UnicodeDecodeError:
        _invalid(path, _("it is no text"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_read_text(path))
    except (ValueError, RecursionError):
        _invalid(path, _("it is not JSON"))
    if not isinstance(data, dict):
        _invalid(path, _("it is no JSON object"))
    return data


def _invalid(path: Path, reason: str) -> NoReturn:
    raise ConfigError(
        "{file} is no rank table: {reason}.",
        hint="glmlite rank-table create writes one.",
        file=path.name,
        reason=reason,
    )

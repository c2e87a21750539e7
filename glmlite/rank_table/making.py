"""Making rank tables: for one server out of its devices' addresses, for several by merging.

As `hccl_tools.py` and `merge_hccl.py` of MindFormers do it, with the same names of files.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from glmlite.errors import ConfigError
from glmlite.i18n import _
from glmlite.rank_table.table import Device, RankTable, Server, is_address

# A server has two halves of four devices with rings of their own.
HALF = 4


def parse_device_range(text: str, per_node: int = 8) -> range:
    """`"[0,8)"` to range(0, 8); as in hccl_tools.py, the end is exclusive whatever closes it.

    Raises:
        ConfigError: no such range, none or too many devices, or some of both halves of a server.
    """
    match = re.fullmatch(r"\s*\[\s*(\d{1,4})\s*,\s*(\d{1,4})\s*[\])]\s*", text)
    if not match:
        raise ConfigError(
            "--device-num is {text}; it must read [first,end), such as [0,8).",
            hint='Quote it, for the shell reads brackets too: --device-num "[0,8)"',
            text=text,
        )
    first, end = int(match[1]), int(match[2])
    if not 0 <= first < end <= per_node:
        raise ConfigError(
            "--device-num is {text}; it must name one or more of the devices 0 to {last}.",
            hint="The end does not count: [0,8) are the devices 0 to 7. Servers with more devices: "
            "--device-num-per-node N",
            text=text,
            last=per_node - 1,
        )
    if first < HALF < end and not (first == 0 and end in (8, 16)):
        raise ConfigError(
            "--device-num is {text}; devices of both halves (0–3 and 4–7) work together only as "
            "[0,8).",
            hint='Use "[0,8)", or stay within "[0,4)" or "[4,8)".',
            text=text,
        )
    return range(first, end)


def parse_addresses(text: str, wanted: Sequence[int]) -> dict[int, str]:
    """Device addresses out of /etc/hccn.conf, or of what `hccn_tool -i N -ip -g` printed.

    Args:
        text: `address_0=IP` lines; or `ipaddr:IP` lines, one for each device. The latter do not
            name their device: they are those of `wanted` in order if there are as many, else those
            of the devices 0, 1, ….
        wanted: numbers of the devices that are asked for.

    Returns:
        Device number to address.

    Raises:
        ConfigError: there are no addresses, or one is none.
    """
    found = re.findall(r"(?m)^\s*address_(\d{1,4})\s*=\s*(\S+)\s*$", text)
    named = [(int(number), address) for number, address in found]
    if not named:
        printed = re.findall(r"(?m)^\s*ipaddr\s*:\s*(\S+)\s*$", text)
        numbers = wanted if len(printed) == len(wanted) else range(len(printed))
        named = list(zip(numbers, printed, strict=True))
    if not named:
        raise ConfigError(
            "There are no device addresses in this: {text}",
            hint="Expected are lines such as address_0=192.168.100.101 (/etc/hccn.conf) or "
            "ipaddr:192.168.100.101 (hccn_tool -i 0 -ip -g).",
            text=ascii(text[:80]),
        )
    for number, address in named:
        if not is_address(address):
            raise ConfigError(
                "Device {number} has the address {address}, which is none.",
                number=number,
                address=ascii(address)[1:-1],
            )
    return dict(named)


def create_table(
    devices: Sequence[int],
    addresses: Mapping[int, str],
    server_id: str,
    visible: Sequence[int] | None = None,
) -> RankTable:
    """The table of one server, ranks from 0.

    Args:
        devices: logical numbers, as `--device-num` gives them.
        addresses: of physical devices.
        server_id: the server's address.
        visible: the physical device behind each logical number; None: the same.

    Raises:
        ConfigError: a device is not visible or has no address; or see `RankTable`.
    """
    physical = []
    for logical in devices:
        if visible is not None and logical >= len(visible):
            raise ConfigError(
                "--device-num asks for device {logical}, but only {count} are visible: {visible}.",
                hint="--device-num counts within --visible-devices: with 4,5,6,7 visible it is "
                '"[0,4)".',
                logical=logical,
                count=len(visible),
                visible=",".join(map(str, visible)),
            )
        physical.append(logical if visible is None else visible[logical])
    missing = [number for number in physical if number not in addresses]
    if missing:
        raise ConfigError(
            "There is no address for the devices {missing}; there are addresses for {found}.",
            hint="Give each device an address first: hccn_tool -i N -ip -s address IP netmask MASK",
            missing=", ".join(map(str, missing)),
            found=", ".join(map(str, sorted(addresses))) or _("none"),
        )
    ranked = (Device(n, addresses[n], rank) for rank, n in enumerate(physical))
    return RankTable((Server(server_id, tuple(ranked)),))


def merge_tables(tables: Sequence[RankTable]) -> RankTable:
    """Concatenate server lists in the order given, and number the ranks anew.

    Raises:
        ConfigError: see `RankTable`.
    """
    servers: list[Server] = []
    rank = 0
    for server in (server for table in tables for server in table.servers):
        renumbered = []
        for device in server.devices:
            renumbered.append(dataclasses.replace(device, rank_id=rank))
            rank += 1
        servers.append(dataclasses.replace(server, devices=tuple(renumbered)))
    return RankTable(tuple(servers))


def created_name(devices: Sequence[int], server_id: str) -> str:
    """What hccl_tools.py calls its file: `hccl_8p_01234567_127.0.0.1.json`."""
    return f"hccl_{len(devices)}p_{''.join(map(str, devices))}_{server_id}.json"


def merged_name(table: RankTable) -> str:
    """What merge_hccl.py calls its file: `hccl_2s_16p.json`."""
    return f"hccl_{len(table.servers)}s_{table.device_count}p.json"

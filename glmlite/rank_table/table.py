"""RANK_TABLE_FILE: which Ascend devices take part in a job, and how they reach one another.

The JSON that HCCL reads, as MindFormers' `hccl_tools.py` writes it and `merge_hccl.py` merges it:

    {"version": "1.0", "server_count": "1", "server_list": [{"server_id": IP, "device":
        [{"device_id": "0", "device_ip": IP, "rank_id": "0"}, …], "host_nic_ip": "reserve"}],
     "status": "completed"}

Every number is a string there. Source: HCCL's "rank table configuration resource file" (CANN
documentation).
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections import Counter
from collections.abc import Sequence
from typing import Any

from glmlite.errors import ConfigError
from glmlite.i18n import _

# Of a message: problems, and items that one of them lists.
_MAX_PROBLEMS = 20
_MAX_NAMED = 16


@dataclasses.dataclass(frozen=True)
class Device:
    """One device: its number in its server, the address of its own network port, its rank."""

    device_id: int
    device_ip: str
    rank_id: int


@dataclasses.dataclass(frozen=True)
class Server:
    """One server and its devices."""

    server_id: str
    devices: tuple[Device, ...]
    host_nic_ip: str = "reserve"


@dataclasses.dataclass(frozen=True)
class RankTable:
    """A whole job.

    Raises:
        ConfigError: lists every duplicated address, gap in the ranks and doubtful server id.
    """

    servers: tuple[Server, ...]

    def __post_init__(self) -> None:
        problems = [*_server_problems(self.servers), *_device_problems(self.servers)]
        problems += _rank_problems([d.rank_id for s in self.servers for d in s.devices])
        if problems:
            raise ConfigError(
                "This rank table would not work:\n{problems}",
                hint="Create the table on each server again, with --server-ip and that server's "
                "own address, and merge each of them once.",
                problems="\n".join(f"  {problem}" for problem in _first(problems, _MAX_PROBLEMS)),
            )

    @property
    def device_count(self) -> int:
        """Devices of all servers."""
        return sum(len(server.devices) for server in self.servers)

    def to_dict(self) -> dict[str, Any]:
        """As HCCL reads it."""
        return {
            "version": "1.0",
            "server_count": str(len(self.servers)),
            "server_list": [
                {
                    "server_id": server.server_id,
                    "device": [
                        {
                            "device_id": str(device.device_id),
                            "device_ip": device.device_ip,
                            "rank_id": str(device.rank_id),
                        }
                        for device in server.devices
                    ],
                    "host_nic_ip": server.host_nic_ip,
                }
                for server in self.servers
            ],
            "status": "completed",
        }


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _first(items: Sequence[Any], count: int) -> list[str]:
    """The first of a list that may be anything long, as texts."""
    shown = [str(item) for item in items[:count]]
    return [*shown, "…"] if len(items) > count else shown


def _list(items: Sequence[Any]) -> str:
    return ", ".join(_first(items, _MAX_NAMED))


def _server_problems(servers: Sequence[Server]) -> list[str]:
    counts = Counter(server.server_id for server in servers)
    problems = [
        _("server_id {server} stands for {count} servers", server=server, count=count)
        for server, count in counts.items()
        if count > 1
    ]
    if len(counts) > 1:
        problems += [
            _("server_id {server} is this machine to every machine", server=server)
            for server in counts
            if is_address(server) and ipaddress.ip_address(server).is_loopback
        ]
        named = [server for server in counts if not is_address(server)]
        if named and len(named) < len(counts):
            problems.append(
                _("server ids are mixed: {names} is no address, others are", names=_list(named))
            )
    return problems


def _device_problems(servers: Sequence[Server]) -> list[str]:
    places: dict[str, list[str]] = {}
    problems = []
    for server in servers:
        ids = Counter(device.device_id for device in server.devices)
        problems += [
            _("{server} lists device {device} {count} times", server=server.server_id, **given)
            for given in ({"device": n, "count": count} for n, count in ids.items() if count > 1)
        ]
        for device in server.devices:
            place = _(
                "device {device} of {server}", device=device.device_id, server=server.server_id
            )
            places.setdefault(device.device_ip, []).append(place)
    problems += [
        _("device_ip {address} is that of {places}", address=address, places=_list(at))
        for address, at in places.items()
        if len(at) > 1
    ]
    return problems


def _rank_problems(ranks: Sequence[int]) -> list[str]:
    counts = Counter(ranks)
    doubled = sorted(rank for rank, count in counts.items() if count > 1)
    missing = sorted(set(range(len(ranks))) - set(ranks)) if not doubled else []
    problems = []
    if doubled:
        problems.append(_("rank_id {ranks} twice", ranks=_list(doubled)))
    if missing:
        problems.append(
            _(
                "rank_id goes up to {last} for {count} devices; missing: {missing}",
                last=max(ranks),
                count=len(ranks),
                missing=_list(missing),
            )
        )
    return problems

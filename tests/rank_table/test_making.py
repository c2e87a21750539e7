"""Rank tables against the examples of MindFormers' GLM2 page and its two scripts' rules."""

from __future__ import annotations

from typing import Any

import pytest

from glmlite.errors import ConfigError
from glmlite.rank_table import (
    Device,
    RankTable,
    Server,
    create_table,
    created_name,
    merge_tables,
    merged_name,
    parse_addresses,
    parse_device_range,
)

# The page's eight devices.
IPS = [f"192.{n % 4 + 1}.27.{6 + n // 4}" for n in range(8)]
CONF = "".join(f"address_{n}={ip}\nnetmask_{n}=255.255.0.0\n" for n, ip in enumerate(IPS))
TOOL = "".join(f"ipaddr:{ip}\nnetmask:255.255.0.0\n" for ip in IPS)
PAGE = {
    "version": "1.0",
    "server_count": "1",
    "server_list": [
        {
            "server_id": "xx.xx.xx.xx",
            "device": [
                {"device_id": "0", "device_ip": "192.1.27.6", "rank_id": "0"},
                {"device_id": "1", "device_ip": "192.2.27.6", "rank_id": "1"},
                {"device_id": "2", "device_ip": "192.3.27.6", "rank_id": "2"},
                {"device_id": "3", "device_ip": "192.4.27.6", "rank_id": "3"},
                {"device_id": "4", "device_ip": "192.1.27.7", "rank_id": "4"},
                {"device_id": "5", "device_ip": "192.2.27.7", "rank_id": "5"},
                {"device_id": "6", "device_ip": "192.3.27.7", "rank_id": "6"},
                {"device_id": "7", "device_ip": "192.4.27.7", "rank_id": "7"},
            ],
            "host_nic_ip": "reserve",
        }
    ],
    "status": "completed",
}


def server(number: int, count: int = 8, server_id: str | None = None) -> Server:
    devices = tuple(Device(i, f"192.{i}.{number}.1", i) for i in range(count))
    return Server(server_id or f"10.0.0.{number}", devices)


@pytest.mark.parametrize("text", [CONF, TOOL, CONF.replace("\n", "\r\n"), "# x\n" + CONF])
def test_the_example_of_the_page(text: str) -> None:
    table = create_table(range(8), parse_addresses(text, range(8)), "xx.xx.xx.xx")
    assert table.to_dict() == PAGE
    assert list(table.to_dict()) == list(PAGE)  # in the same order


def test_visible_devices() -> None:
    """In a container that sees the last four, `[0,2)` are the physical devices 4 and 5."""
    table = create_table(range(2), parse_addresses(CONF, range(8)), "10.0.0.1", [4, 5, 6, 7])
    (one,) = table.to_dict()["server_list"]
    assert [d["device_id"] for d in one["device"]] == ["4", "5"]
    assert [d["device_ip"] for d in one["device"]] == [IPS[4], IPS[5]]
    assert [d["rank_id"] for d in one["device"]] == ["0", "1"]


def test_addresses_without_device_numbers_are_those_asked_for() -> None:
    text = "ipaddr:10.1.0.4\nipaddr:10.1.0.5\n"
    assert parse_addresses(text, [4, 5]) == {4: "10.1.0.4", 5: "10.1.0.5"}
    assert parse_addresses(text, [1]) == {0: "10.1.0.4", 1: "10.1.0.5"}


def test_names_of_files() -> None:
    assert created_name(range(8), "127.0.1.1") == "hccl_8p_01234567_127.0.1.1.json"
    assert created_name(range(4, 6), "10.0.0.1") == "hccl_2p_45_10.0.0.1.json"
    table = merge_tables([RankTable((server(1),)), RankTable((server(2),))])
    assert merged_name(table) == "hccl_2s_16p.json"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[0,8)", range(8)),
        ("[0,8]", range(8)),  # as hccl_tools.py reads it
        (" [ 4 , 8 ) ", range(4, 8)),
        ("[0,1)", range(1)),
    ],
)
def test_device_ranges(text: str, expected: range) -> None:
    assert parse_device_range(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8", r"must read \[first,end\)"),
        ("[0;8)", r"must read \[first,end\)"),
        ("[0,9)", "devices 0 to 7"),
        ("[3,3)", "one or more"),
        ("[5,4)", "one or more"),
        ("[3,6)", "both halves"),
        ("[0,6)", "both halves"),
    ],
)
def test_device_ranges_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_device_range(text)


def test_sixteen_devices() -> None:
    assert parse_device_range("[0,16)", 16) == range(16)


def test_missing_devices() -> None:
    with pytest.raises(ConfigError, match=r"no address for the devices 6, 7; there are.*0, 1, 2"):
        create_table(range(8), dict(enumerate(IPS[:6])), "10.0.0.1")
    with pytest.raises(ConfigError, match=r"asks for device 4, but only 4 are visible: 4,5,6,7"):
        create_table(range(5), dict(enumerate(IPS)), "10.0.0.1", [4, 5, 6, 7])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no device addresses"),
        ("Failed to open device", "no device addresses in this: 'Failed"),
        ("address_0=300.1.1.1", "Device 0 has the address 300.1.1.1"),
    ],
)
def test_addresses_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_addresses(text, [0])


def test_merging_keeps_the_order_and_numbers_anew() -> None:
    second, first = RankTable((server(2, 4),)), RankTable((server(1, 8),))
    merged = merge_tables([second, first]).to_dict()
    assert merged["server_count"] == "2"
    assert [s["server_id"] for s in merged["server_list"]] == ["10.0.0.2", "10.0.0.1"]
    ranks = [d["rank_id"] for s in merged["server_list"] for d in s["device"]]
    assert ranks == [str(n) for n in range(12)]
    three = merge_tables([merge_tables([second, first]), RankTable((server(3, 1),))])
    assert three.device_count == 13


def test_the_two_server_example_of_the_page_would_not_work() -> None:
    """It gives four addresses to two devices each, and one id to both servers."""
    first = Server(
        "xx.xx.xx.xx", tuple(Device(i, f"192.168.{i % 4}.{i // 4}", i) for i in range(8))
    )
    second = Server(
        "xx.xx.xx.xx", tuple(Device(i, f"192.168.{i % 4}.{i // 4 + 1}", i) for i in range(8))
    )
    with pytest.raises(ConfigError) as caught:
        merge_tables([RankTable((first,)), RankTable((second,))])
    text = str(caught.value)
    assert "server_id xx.xx.xx.xx stands for 2 servers" in text
    for part in range(4):
        assert f"device_ip 192.168.{part}.1 is that of device {part + 4} of xx" in text
    assert "192.168.0.0" not in text


def swap(base: Server, **changes: Any) -> Server:
    devices = list(base.devices)
    devices[2] = Device(**{"device_id": 2, "device_ip": "1.1.1.1", "rank_id": 2} | changes)
    return Server(base.server_id, tuple(devices))


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ((swap(server(1), rank_id=9),), "rank_id goes up to 9 for 8 devices; missing: 2"),
        ((swap(server(1), rank_id=1),), "rank_id 1 twice"),
        ((swap(server(1), device_id=7),), "10.0.0.1 lists device 7 2 times"),
        (
            (swap(server(1), device_ip="192.5.1.1"),),
            "device_ip 192.5.1.1 is that of device 2 of 10.0.0.1, device 5 of 10.0.0.1",
        ),
    ],
)
def test_problems(servers: tuple[Server, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RankTable(servers)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("10.0.0.1", "10.0.0.1"), "server_id 10.0.0.1 stands for 2 servers"),
        (("10.0.0.1", "127.0.1.1"), "server_id 127.0.1.1 is this machine to every machine"),
        (("10.0.0.1", "node-2"), "server ids are mixed: node-2"),
    ],
)
def test_mixed_server_ids(ids: tuple[str, str], message: str) -> None:
    tables = [RankTable((server(n, server_id=i),)) for n, i in enumerate(ids)]
    with pytest.raises(ConfigError, match=message):
        merge_tables(tables)

"""`glmlite rank-table`, from files to files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from glmlite.cli.app import glmlite
from glmlite.cli.run import execute
from tests.rank_table.test_making import CONF, IPS, PAGE, TOOL


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(glmlite, ["rank-table", *arguments])


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert execute(glmlite, "glmlite", ["rank-table", *arguments]) == 2
    return capsys.readouterr().err


def test_create_from_hccn_conf(here: Path) -> None:
    (here / "hccn.conf").write_text(CONF)
    result = run("create", "--hccn", "hccn.conf", "--server-ip", "10.0.0.1")
    assert result.output == "hccl_8p_01234567_10.0.0.1.json\n"
    table = copy.deepcopy(PAGE)
    table["server_list"][0]["server_id"] = "10.0.0.1"  # type: ignore[index]
    assert json.loads((here / result.output.strip()).read_text()) == table


def test_the_flags_of_hccl_tools(here: Path) -> None:
    for number, text in enumerate(TOOL.split("ipaddr:")[1:]):
        (here / f"{number}.txt").write_text("ipaddr:" + text)
    files = [part for n in range(4, 6) for part in ("--hccn", f"{n}.txt")]
    flags = ["--device_num", "[0,2)", "--visible_devices", "4,5,6,7", "--server_ip", "10.0.0.1"]
    assert run("create", *flags, *files, "--output", "out.json").exit_code == 0
    (server,) = json.loads((here / "out.json").read_text())["server_list"]
    assert [(d["device_id"], d["device_ip"]) for d in server["device"]] == [
        ("4", IPS[4]),
        ("5", IPS[5]),
    ]


def test_create_asks_hccn_tool(here: Path) -> None:
    tool = here / "hccn_tool"
    tool.write_text(
        '#!/bin/sh\n[ "$1 $3 $4" = "-i -ip -g" ] || exit 1\n'
        'echo "ipaddr:10.20.0.$2"; echo "netmask:255.255.0.0"\n'
    )
    tool.chmod(0o755)
    assert run("create", "--server-ip", "10.0.0.1").exit_code == 0
    (server,) = json.loads((here / "hccl_8p_01234567_10.0.0.1.json").read_text())["server_list"]
    assert [d["device_ip"] for d in server["device"]] == [f"10.20.0.{n}" for n in range(8)]


def test_a_machine_without_devices(capsys: pytest.CaptureFixture[str]) -> None:
    text = fails(capsys, "create", "--server-ip", "10.0.0.1")
    assert "Neither hccn_tool nor /etc/hccn.conf" in text
    assert "--hccn" in text


def test_the_hosts_own_address_is_loopback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostbyname", lambda name: "127.0.1.1")
    (here / "hccn.conf").write_text(CONF)
    result = run("create", "--hccn", "hccn.conf")
    assert result.stdout == "hccl_8p_01234567_127.0.1.1.json\n"
    assert "known to this server only" in result.stderr


@pytest.mark.parametrize("value", ["4;5", "a", "4,,5", "-1"])
def test_visible_devices_that_are_none(value: str) -> None:
    assert "such as 4,5,6,7" in run("create", f"--visible-devices={value}").output


def create(here: Path, number: int) -> str:
    text = "".join(f"address_{n}=10.{number}.0.{n}\n" for n in range(8))
    (here / "hccn.conf").write_text(text)
    return run("create", "--hccn", "hccn.conf", "--server-ip", f"10.0.0.{number}").output.strip()


def test_merge(here: Path) -> None:
    names = [create(here, number) for number in (1, 2)]
    assert run("merge", *names).output == "hccl_2s_16p.json\n"
    merged = json.loads((here / "hccl_2s_16p.json").read_text())
    assert [d["rank_id"] for s in merged["server_list"] for d in s["device"]] == [
        str(n) for n in range(16)
    ]
    assert run("merge", *reversed(names), "--output", "OUT.json").output == "OUT.json\n"
    turned = json.loads((here / "OUT.json").read_text())
    assert [s["server_id"] for s in turned["server_list"]] == ["10.0.0.2", "10.0.0.1"]


def test_one_table_alone_is_remarked_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "table.json").write_text(json.dumps(PAGE))
    assert execute(glmlite, "glmlite", ["rank-table", "merge", "table.json"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "hccl_1s_8p.json\n"
    assert "one table only" in shown.err


def test_merging_the_merged_table_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hccl*.json` matches the result of the first time too."""
    names = [create(here, number) for number in (1, 2)]
    run("merge", *names)
    text = fails(capsys, "merge", *names, "hccl_2s_16p.json")
    assert "server_id 10.0.0.1 stands for 2 servers" in text


def spoiled(**changes: Any) -> dict[str, Any]:
    table = copy.deepcopy(PAGE)
    table.update(changes)
    return table


def device(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = copy.deepcopy(PAGE)
    table["server_list"][0]["device"][3].update(changes)
    return table


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "it is not JSON"),
        (b"[]", "it is no JSON object"),
        (b"\xff\xfe", "it is no text"),
        (b"[" * 100_000, "it is not JSON"),
        ({"status": "completed", "group_list": []}, "ModelArts"),
        (spoiled(server_list=[]), "it has no server_list"),
        (spoiled(server_list=[{}]), "has no server_id"),
        (spoiled(server_list=[{"server_id": "1.1.1.1", "device": {}}]), "lists no devices"),
        (spoiled(server_count="2"), "server_count is '2', but it lists 1"),
        (device(device_ip="x"), "device_ip is 'x', which is no address"),
        (device(rank_id="-3"), "rank_id is '-3', which is no number"),
        (device(rank_id="8"), "table.json would not work.*\n.*missing: 3"),
        (device(device_ip=IPS[0]), f"device_ip {IPS[0]} is that of device 0 .*device 3"),
    ],
)
def test_files_that_are_no_tables(
    here: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str
) -> None:
    import re

    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (here / "table.json").write_bytes(data)
    assert re.search(message, fails(capsys, "merge", "table.json", "--output", "out.json"))
    assert not (here / "out.json").exists()


def test_only_tables_are_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = create(here, 1)
    assert create(here, 1) == name
    (here / "notes.json").write_text('{"mine": 1}')
    assert "left alone" in fails(capsys, "merge", name, "--output", "notes.json")
    assert (here / "notes.json").read_text() == '{"mine": 1}'
    assert "No such file" in fails(capsys, "merge", name, "--output", "nowhere/out.json")
    assert not list(here.glob(".*"))

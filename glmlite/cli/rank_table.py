"""`glmlite rank-table`: RANK_TABLE_FILE for one Ascend server, and for several."""

from __future__ import annotations

from pathlib import Path

import click

from glmlite.cli.base import GlmGroup, command, group
from glmlite.i18n import _


class RankTableGroup(GlmGroup):
    """The group of the two commands."""

    def command_summaries(self) -> list[tuple[str, str]]:
        """See `GlmGroup`."""
        return [
            ("create", _("Write the table of this server.")),
            ("merge", _("Put the tables of several servers into one.")),
        ]


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 5 for part in parts):
        raise click.BadParameter(_("device numbers with commas between them, such as 4,5,6,7"))
    return [int(part) for part in parts]


@command(
    name="create",
    help=_(
        "Write the RANK_TABLE_FILE of one server, as hccl_tools.py does.\n\n"
        "Device addresses come from hccn_tool, else from /etc/hccn.conf; --hccn reads them from "
        "files, so a table can be made on another machine."
    ),
    examples=[
        ('glmlite rank-table create --device-num "[0,8)"', _("all eight devices of this server")),
        (
            'glmlite rank-table create --device-num "[0,8)" --server-ip 192.168.1.10',
            _("one server among several"),
        ),
        (
            "glmlite rank-table create --hccn hccn.conf --server-ip 192.168.1.10",
            _("for a server that is elsewhere"),
        ),
    ],
)
@click.option(
    "--device-num",
    "--device_num",
    default="[0,8)",
    show_default=True,
    metavar="[A,B)",
    help=_("Devices A to B-1, counted among the visible ones."),
)
@click.option(
    "--visible-devices",
    "--visible_devices",
    callback=_numbers,
    metavar="N,N,…",
    help=_("The physical devices that a container sees, in its own order. Default: all."),
)
@click.option(
    "--server-ip",
    "--server_ip",
    metavar="IP",
    help=_("This server's address. Default: what its host name resolves to."),
)
@click.option(
    "--device-num-per-node",
    "--device_num_per_node",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    metavar="N",
    help=_("Devices that a server has."),
)
@click.option(
    "--hccn",
    "files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help=_(
        "/etc/hccn.conf, or what `hccn_tool -i N -ip -g` printed for each device; may be given "
        "several times."
    ),
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help=_("Where to."))
def create(
    device_num: str,
    visible_devices: list[int] | None,
    server_ip: str | None,
    device_num_per_node: int,
    files: tuple[Path, ...],
    output: Path | None,
) -> None:
    """Write the table of one server."""
    from glmlite import rank_table as tables

    devices = tables.parse_device_range(device_num, device_num_per_node)
    logical = visible_devices or list(range(device_num_per_node))
    physical = [logical[i] for i in devices if i < len(logical)]
    server = server_ip or tables.host_address()
    addresses = tables.read_addresses(files, physical)
    table = tables.create_table(devices, addresses, server, visible_devices)
    path = output or Path(tables.created_name(devices, server))
    tables.write_table(table, path)
    click.echo(str(path))
    if server.startswith("127."):
        click.echo(
            _(
                "The server id {server} is known to this server only. If it works together with "
                "others, create the table again with --server-ip.",
                server=server,
            ),
            err=True,
        )


@command(
    name="merge",
    help=_(
        "Put the tables of several servers into one, as merge_hccl.py does: servers in the order "
        "given, ranks numbered anew. Every server then needs this same file."
    ),
    examples=[
        (
            "glmlite rank-table merge hccl_8p_01234567_192.168.1.10.json "
            "hccl_8p_01234567_192.168.1.11.json",
            _("writes hccl_2s_16p.json"),
        ),
        ("glmlite rank-table merge A.json B.json --output OUT.json", _("under a name of its own")),
    ],
)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="TABLE..."
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help=_("Where to."))
def merge(files: tuple[Path, ...], output: Path | None) -> None:
    """Merge tables."""
    from glmlite import rank_table as tables

    if len(files) == 1:
        click.echo(
            _("There is one table only; nothing is merged, its ranks are numbered anew."), err=True
        )
    table = tables.merge_tables([tables.read_table(path) for path in files])
    path = output or Path(tables.merged_name(table))
    tables.write_table(table, path)
    click.echo(str(path))


rank_table = group(
    RankTableGroup,
    name="rank-table",
    help=_("Write and merge RANK_TABLE_FILE, by which Ascend devices find one another."),
    examples=[
        ('glmlite rank-table create --device-num "[0,8)"', _("all eight devices of this server")),
        ("glmlite rank-table merge A.json B.json --output OUT.json", _("two servers, one job")),
    ],
)
rank_table.add_command(create)
rank_table.add_command(merge)

"""RANK_TABLE_FILE: made for one server, merged for several, checked before a job trips over it."""

from glmlite.rank_table.files import host_address, read_addresses, read_table, write_table
from glmlite.rank_table.making import (
    create_table,
    created_name,
    merge_tables,
    merged_name,
    parse_addresses,
    parse_device_range,
)
from glmlite.rank_table.table import Device, RankTable, Server

__all__ = [
    "Device",
    "RankTable",
    "Server",
    "create_table",
    "created_name",
    "host_address",
    "merge_tables",
    "merged_name",
    "parse_addresses",
    "parse_device_range",
    "read_addresses",
    "read_table",
    "write_table",
]

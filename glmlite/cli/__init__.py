"""The command line: one short module per command, loaded when it is called."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run `glmlite`; installed as the console script of that name."""
    from glmlite.cli.app import glmlite
    from glmlite.cli.run import run

    run(glmlite, "glmlite")

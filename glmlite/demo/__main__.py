"""`python -m glmlite.demo` (`make demo`): export the demo model, prove it, ask it, chat with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmlite.cli.run import execute, run
from glmlite.errors import EngineError
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.runtime.engines.interpreter import Interpreter

OUTPUT = Path("build/demo")
LOCAL_TOOLCHAIN = Path(".toolchain/bin/python")
QUESTIONS = ("glmlite 是什么？", "How do I export a model?")


def find_interpreters() -> tuple[Interpreter, Interpreter]:
    """The interpreter that exports, and the one that runs MindSpore's engine.

    The toolchain (`GLMLITE_TOOLCHAIN`, else `.toolchain/` in the current directory, else this
    interpreter) exports, for what MindSpore 2.0.0 writes is read everywhere. The engine is this
    interpreter's own MindSpore if it has one: often a newer one than the graphs were made with.
    """
    from glmlite.runtime.engines.interpreter import ENVIRONMENT_VARIABLE, probe_interpreter

    current = probe_interpreter(sys.executable)
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named or LOCAL_TOOLCHAIN.exists():
        exporter = probe_interpreter(named or str(LOCAL_TOOLCHAIN))
    else:
        exporter = current
    return exporter, current if current.mindspore else exporter


def export(exporter: Interpreter) -> None:
    """Export the demo model to `OUTPUT` and show how closely each graph follows the reference."""
    from glmlite.cli.bundle_tables import print_graphs
    from glmlite.cli.progress import show_progress
    from glmlite.exporter.pipeline import run_export

    with show_progress() as progress:
        report = run_export(
            "demo",
            toolchain=exporter.python,
            progress=progress,
            overrides={"export.output": str(OUTPUT)},
            overwrite=True,
        )
    print_graphs(report.manifest)


def ask(engine: str, version: str, interpreter: Interpreter) -> None:
    """Ask both questions through the exported graphs and stream the answers.

    Raises:
        EngineError: the engine does not start, or an answer is not the corpus's.
    """
    from glmlite.demo import load_corpus
    from glmlite.runtime.model import load

    right = {turn.question: turn.answer for d in load_corpus() for turn in d.turns[:1]}
    click.echo()
    title = _(
        "{engine} {version}, Python {python}",
        engine=engine,
        version=version,
        python=interpreter.version,
    )
    click.secho(title, bold=True)
    with load(OUTPUT, engine=engine, toolchain=interpreter.python) as model:
        messages: list[dict[str, str]] = []
        for question in QUESTIONS:
            messages.append({"role": "user", "content": question})
            click.secho(f"> {question}", fg="cyan")
            answer = ""
            for piece in model.chat(messages):
                answer += piece.text
                click.echo(piece.text, nl=False)
                if piece.stats:
                    speed = _(
                        "({tokens} tokens, {speed:.0f} tokens/s)",
                        tokens=piece.stats.new_tokens,
                        speed=piece.stats.tokens_per_second,
                    )
                    click.secho(f"  {speed}", dim=True)
            if answer != right[question]:
                raise EngineError(
                    "On engine {engine} the demo model did not give the answer that it learned: "
                    "{expected}",
                    hint="Look at the parity figures: glmlite inspect {bundle}",
                    engine=engine,
                    expected=right[question],
                    bundle=str(OUTPUT),
                )
            messages.append({"role": "assistant", "content": answer})


@click.command(help=_("Export the demo model, ask it two questions, and chat with it."))
def demo() -> int:
    """Run the demonstration; returns the exit code."""
    # MindSpore 2.10 warns of every MindIR that 2.0 wrote; whether it fits, the answers tell.
    os.environ.setdefault("GLOG_v", "3")
    exporter, runner = find_interpreters()
    export(exporter)
    ask("mindspore", runner.mindspore or "", runner)
    if exporter.lite:
        ask("lite", exporter.lite, exporter)
    else:
        click.echo()
        click.echo(
            _("MindSpore Lite was not tried: {python} does not have it.", python=exporter.python)
        )
    arguments = ["chat", str(OUTPUT)]
    if not exporter.is_current:
        arguments += ["--toolchain", exporter.python]
    click.echo()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo(_("Next: {command}", command=" ".join(["glmlite", *arguments])))
        return 0
    from glmlite.cli.app import glmlite

    return execute(glmlite, "glmlite", arguments)


if __name__ == "__main__":
    run(demo, "python -m glmlite.demo")

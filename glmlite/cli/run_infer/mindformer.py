"""The command behind the flags of MindFormers' run_mindformer.py, as far as it predicts."""

from __future__ import annotations

from pathlib import Path

import click

from glmlite.cli.base import command
from glmlite.cli.options import ENGINES, toolchain_option
from glmlite.errors import ConfigError
from glmlite.i18n import _


@command(
    name="run_infer",
    help=_(
        "Answer a raw prompt as MindFormers' run_mindformer.py --run_mode predict does.\n\n"
        "The YAML (--config) or --load_checkpoint names the bundle, as in glmlite.compat; a "
        "literal \\n is a line break. The answer is printed as [{'text_generation_text': "
        "['prompt answer']}]."
    ),
    examples=[
        (
            "run_infer --config configs/glm2/run_glm2_6b.yaml --run_mode predict "
            "--predict_data '[Round 1]\\n\\n问：你好\\n\\n答：'",
            _("the bundle that was exported as glm2_6b"),
        ),
    ],
)
@click.option("--config", metavar="FILE", help=_("MindFormers' YAML."))
@click.option(
    "--run_mode", default="predict", show_default=True, metavar="predict", help=_("What to do.")
)
@click.option("--load_checkpoint", metavar="NAME", help=_("The bundle, in place of the YAML's."))
@click.option("--predict_data", metavar="TEXT", help=_("Answer this and end, in place of asking."))
@click.option("--device_id", type=int, default=0, metavar="N", help=_("Ascend device."))
@click.option(
    "--use_parallel",
    type=bool,
    default=False,
    metavar="True|False",
    help=_("Accepted; has no meaning any more."),
)
@click.option("--engine", type=click.Choice(ENGINES), default="auto", help=_("What runs it."))
@toolchain_option()
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help=_("Threads of it."))
def run_mindformer(
    config: str | None,
    run_mode: str,
    load_checkpoint: str | None,
    predict_data: str | None,
    device_id: int,
    use_parallel: bool,
    engine: str,
    toolchain: str | None,
    threads: int | None,
) -> None:
    """Answer one prompt."""
    import warnings

    from glmlite.cli.repl.answer import say
    from glmlite.compat.configs import AutoConfig, read_settings
    from glmlite.compat.models import AutoModel
    from glmlite.compat.pipelines import TextGenerationPipeline
    from glmlite.text.pasted import expand_newlines

    if run_mode != "predict":
        raise ConfigError(
            "--run_mode {mode}: glmlite does not do that yet.",
            hint="Train and evaluate with MindFormers, then export the checkpoint.",
            mode=run_mode,
        )
    name = load_checkpoint or config
    if name is None or predict_data is None:
        raise ConfigError(
            "Nothing says which model to run, or what to answer.",
            hint="run_infer --config FILE.yaml --run_mode predict --predict_data TEXT",
        )
    if use_parallel:
        say(f"--use_parallel: {_('one process on one device runs the whole model.')}")
    settings = AutoConfig.from_pretrained(name, **(read_settings(Path(config)) if config else {}))
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        model = AutoModel.from_config(
            settings, engine=engine, toolchain=toolchain, device_id=device_id, threads=threads
        )
    try:
        for remark in remarks:
            say(str(remark.message))
        running = model.running
        say(_("Engine: {name} ({reason})", name=running.engine_name, reason=running.engine_reason))
        print(TextGenerationPipeline(model)(expand_newlines(predict_data)), flush=True)
    finally:
        model.close()

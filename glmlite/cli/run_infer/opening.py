"""What run_infer's flags name: a bundle, or two bare graphs with a tokenizer."""

from __future__ import annotations

from pathlib import Path

from glmlite.cli.run_infer.flags import Flags
from glmlite.compat.locate import bundle_of_graph, find_graph, locate_bundle
from glmlite.compat.running import Running, open_bare, open_running
from glmlite.errors import ConfigError
from glmlite.i18n import _
from glmlite.model.config import Family
from glmlite.runtime.engines import EngineOptions
from glmlite.text import Tokenizer

_FAMILIES: dict[str, Family] = {"glm2": "glm2", "glm3": "glm3", "glm32k": "glm3"}
_TOKENIZER = "tokenizer.model"


def named_family(model_name: str) -> Family | None:
    """The family of MindFormers' model name; None for "common", which says nothing.

    Raises:
        ConfigError: another kind of model.
    """
    if model_name == "common":
        return None
    family = _FAMILIES.get(model_name.lower().split("_")[0])
    if family is None:
        raise ConfigError(
            "--model_name {found} is no ChatGLM2 or ChatGLM3.",
            hint="Known are glm2_… and glm3_….",
            found=model_name,
        )
    return family


def open_named(
    flags: Flags, bundle: Path | None, engine: str, toolchain: str | None, threads: int | None
) -> tuple[Running, list[str]]:
    """Open what the flags name.

    Returns:
        The model, and remarks for the user.

    Raises:
        GlmliteError: of the kind that fits.
    """
    options = EngineOptions(
        toolchain=toolchain,
        threads=threads,
        device_id=flags.device_id,
        rank_id=flags.rank_id,
        engine_config=flags.config_path,
    )
    family = named_family(flags.model_name)
    remarks = []
    found = _bundle(flags, bundle)
    tokenizer = Path(flags.tokenizer_path).expanduser() if flags.tokenizer_path else None
    if found is not None:
        if flags.prefill_model_path:
            remarks.append(_("The graphs are those of the bundle {path}.", path=found))
        running, more = open_running(found, engine=engine, options=options, tokenizer=tokenizer)
        _check_family(running, family, flags.model_name)
        return running, remarks + more
    prefill, decode = flags.prefill_model_path, flags.increment_model_path
    if prefill is None or decode is None:
        raise ConfigError(
            "Nothing says which model to run.",
            hint="Name a bundle (--model_dir BUNDLE), or two graphs (--prefill_model_path FILE "
            "--increment_model_path FILE).",
        )
    paths = find_graph(prefill), find_graph(decode)
    return open_bare(
        *paths,
        engine=engine,
        options=options,
        tokenizer=_bare_tokenizer(tokenizer, paths[0], family, flags.model_name),
    )


def _bundle(flags: Flags, bundle: Path | None) -> Path | None:
    if bundle is not None:
        return locate_bundle(bundle)
    if flags.model_dir is not None:
        return locate_bundle(flags.model_dir)
    paths = [p for p in (flags.prefill_model_path, flags.increment_model_path) if p]
    found = {bundle_of_graph(path) for path in paths}
    if len(found) > 1:
        raise ConfigError(
            "{prefill} and {increment} do not belong to one bundle.",
            prefill=paths[0],
            increment=paths[1],
        )
    return found.pop() if found else None


def _check_family(running: Running, family: Family | None, model_name: str) -> None:
    tokenizer = running.tokenizer
    if tokenizer and {tokenizer.family, family} == {"glm2", "glm3"}:
        running.close()
        raise ConfigError(
            "--model_name is {named}, but the bundle {path} is a {found}.",
            hint="Leave --model_name out: a bundle knows what it is.",
            named=model_name,
            path=str(running.path),
            found=tokenizer.family,
        )


def _bare_tokenizer(
    path: Path | None, graph: Path, family: Family | None, model_name: str
) -> Tokenizer:
    if family is None:
        raise ConfigError(
            "--model_name is {found}: bare graphs do not tell which family they are.",
            hint="Say it: --model_name glm2_6b (or glm3_6b).",
            found=model_name,
        )
    if path is None:
        path = graph.parent / _TOKENIZER
        if not path.is_file():
            raise ConfigError(
                "Bare graphs come without a tokenizer, and there is no {path}.",
                hint="Name it: --tokenizer_path tokenizer.model",
                path=str(path),
            )
    return Tokenizer(path, family)

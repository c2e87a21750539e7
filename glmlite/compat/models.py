"""`AutoModel`: a bundle behind MindFormers' `generate`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.compat.configs import AutoConfig, ChatGLM2Config
from glmlite.compat.locate import locate_bundle
from glmlite.compat.options import count_new_tokens, sampling_params
from glmlite.compat.running import Running, open_running
from glmlite.errors import ConfigError
from glmlite.i18n import _
from glmlite.runtime.engines import EngineOptions

Ids = NDArray[np.int32]
_PAD = 0
_SAMPLING = ("do_sample", "top_k", "top_p", "temperature", "repetition_penalty")
# Of MindFormers' generate(); they change nothing here.
_IDLE = ("use_past", "num_beams", "pad_token_id", "eos_token_id", "bos_token_id")


class ChatGLM2ForConditionalGeneration:
    """A running model; ChatGLM3 has the same class, as in MindFormers.

    Args:
        config: its `checkpoint_name_or_path` says which bundle, its `seq_length` how long prompt
            and answer may be together, its sampling settings what `generate` does by default.
        engine, toolchain: as in `glmlite.load`.
    """

    def __init__(
        self,
        config: ChatGLM2Config,
        *,
        engine: str = "auto",
        toolchain: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        if config.checkpoint_name_or_path is None:
            raise ConfigError(
                "The configuration names no bundle.",
                hint='config = AutoConfig.from_pretrained("BUNDLE"), or set '
                "config.checkpoint_name_or_path to its folder.",
            )
        self.config = config
        chosen = EngineOptions(toolchain=toolchain, **options)
        self.running: Running
        self.running, remarks = open_running(
            locate_bundle(config.checkpoint_name_or_path), engine=engine, options=chosen
        )
        for remark in remarks:
            warnings.warn(remark, stacklevel=2)

    @property
    def limit(self) -> int:
        """Tokens that prompt and answer may have together: config.seq_length, or the cache."""
        wanted = self.config.seq_length
        return self.running.capacity if wanted is None else min(wanted, self.running.capacity)

    def set_train(self, mode: bool = True) -> ChatGLM2ForConditionalGeneration:
        """Nothing to switch: a bundle is inference only."""
        return self

    def generate(
        self,
        input_ids: Sequence[Any] | NDArray[Any],
        *,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        streamer: Any = None,
        seed: int | None = None,
        **options: Any,
    ) -> list[Ids]:
        """Continue prompts.

        Args:
            input_ids: a prompt's ids, or several prompts; zeros at a prompt's end are padding.
            max_length: of prompt and answer together; more than `limit` means `limit`.
            max_new_tokens: overrides it.
            streamer: `put` gets the prompt's ids, then each new one; `end` is called last.
            seed: same seed, same answer.
            **options: do_sample, top_k, top_p, temperature, repetition_penalty (what is left out is
                the configuration's); other keywords of MindFormers change nothing.

        Returns:
            For each prompt int32 [n]: its ids, the answer's, and the token that ended it.

        Raises:
            ConfigError: an option is out of its range, or a prompt is longer than `limit`.
        """
        if options.get("num_beams", 1) != 1:
            raise ConfigError(
                "num_beams is {found!r}; glmlite has no beam search.",
                hint="Leave it out, or give 1.",
                found=options["num_beams"],
            )
        sampling = {n: options.pop(n, None) for n in _SAMPLING}
        for name, value in sampling.items():
            sampling[name] = getattr(self.config, name) if value is None else value
        unknown = sorted(set(options) - set(_IDLE))
        if unknown:
            said = _("generate: {names} change nothing in glmlite.", names=", ".join(unknown))
            warnings.warn(said, stacklevel=2)
        params = sampling_params(**sampling, seed=seed)
        answers = []
        for prompt in _prompts(input_ids):
            count = count_new_tokens(
                len(prompt), self.limit, max_length=max_length, max_new_tokens=max_new_tokens
            )
            ids = list(prompt)
            if streamer is not None:
                streamer.put(np.array(prompt, np.int32))
            if count:
                pieces = self.running.continue_ids(prompt, max_new_tokens=count, params=params)
                for piece in pieces:
                    ids.append(piece.token)
                    if streamer is not None:
                        streamer.put(np.array([piece.token], np.int32))
            if streamer is not None:
                streamer.end()
            answers.append(np.array(ids, np.int32))
        return answers

    def close(self) -> None:
        """Free the engine; a second call does nothing."""
        self.running.close()


class AutoModel:
    """`from_pretrained` and `from_config`."""

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], **options: Any
    ) -> ChatGLM2ForConditionalGeneration:
        """Open a bundle: its folder, a name that stands for one, or a YAML that leads to one.

        Args:
            name: see `glmlite.compat.locate`.
            **options: engine, toolchain, threads, device_id, …; see `glmlite.load`.
        """
        return cls.from_config(AutoConfig.from_pretrained(name), **options)

    @classmethod
    def from_config(
        cls, config: ChatGLM2Config, **options: Any
    ) -> ChatGLM2ForConditionalGeneration:
        """Open the bundle that a configuration names."""
        return ChatGLM2ForConditionalGeneration(config, **options)


def _prompts(input_ids: Sequence[Any] | NDArray[Any]) -> list[list[int]]:
    """One prompt or several as lists, without the padding at their ends.

    Raises:
        ConfigError: there is none, or an empty one.
    """
    rows = input_ids if len(input_ids) and np.ndim(input_ids[0]) else [input_ids]
    prompts = []
    for row in rows:
        ids = [int(token) for token in row]
        while ids and ids[-1] == _PAD:
            ids.pop()
        if not ids:
            raise ConfigError("A prompt has no ids.")
        prompts.append(ids)
    return prompts

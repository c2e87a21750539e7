"""`run_infer`: what MindFormers' scripts do where their flags are given, else `glmlite chat`."""

from __future__ import annotations

from collections.abc import Sequence

import click

# Flags of run_infer_main.py (MindFormers 0.8 and 1.0) that `glmlite chat` does not have.
FLAGS = frozenset(
    {
        "--device_id",
        "--rank_id",
        "--model_dir",
        "--model_name",
        "--seq_length",
        "--tokenizer_path",
        "--prefill_model_path",
        "--increment_model_path",
        "--config_path",
        "--do_sample",
        "--top_k",
        "--top_p",
        "--repetition_penalty",
        "--max_length",
        "--is_sample_acceleration",
        "--add_special_tokens",
        "--stream",
        "--prompt",
        "--max_output_length",
        "--dynamic",
        "--paged_attention",
        "--pa_block_size",
        "--pa_num_blocks",
        "--distributed",
        "--predict_data",
        "--batch_size",
        "--generated_time",
    }
)
# Flags of run_mindformer.py that neither has.
PREDICT_FLAGS = frozenset({"--config", "--run_mode", "--load_checkpoint", "--use_parallel"})


def choose_command(arguments: Sequence[str]) -> click.Command:
    """The command that these arguments are meant for; only its module is imported."""
    given = {argument.partition("=")[0] for argument in arguments}
    if given & PREDICT_FLAGS:
        from glmlite.cli.run_infer.mindformer import run_mindformer

        return run_mindformer
    if given & FLAGS:
        from glmlite.cli.run_infer.command import run_infer

        return run_infer
    from glmlite.cli.chat import chat

    return chat

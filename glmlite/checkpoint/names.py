"""Names of tensors in Hugging Face and in MindFormers checkpoints, and of what is no weight."""

from __future__ import annotations

import re

from glmlite.model.parameters import EMBEDDING

MINDSPORE_EMBEDDING = "transformer.embedding.embedding_table"

# State of training that MindSpore keeps in the same file: one tensor per weight, called
# `prefix.weight`, of every optimizer of mindspore.nn, mindspore.mint.optim and MindFormers.
_PER_WEIGHT = re.compile(
    r"(adam_[mv]|moments?|moment[12]|exp_avg|exp_avg_sq|max_exp_avg_sq|vhat|accum|accum_update|"
    r"lamb_[mv]|mean_square|mean_grad|prev|stat|step_size|linear|ax_|accu_grads)\."
)
# … and single numbers.
_COUNTERS = re.compile(
    r"(global_step|learning_rate(_group_\d+)?|loss_scale|scale_sense|scale_value|beta[12]_power|"
    r"momentum|current_iterator_step|last_overflow_iterator_step|counter|epoch_num|"
    r"step_num|state_step|graceful_(exit|init)|random_op)"
)


def to_huggingface(name: str) -> str:
    """The Hugging Face name of a tensor; only the embedding is called otherwise in MindFormers."""
    return EMBEDDING if name == MINDSPORE_EMBEDDING else name


def to_mindspore(name: str) -> str:
    """The MindFormers name of a tensor."""
    return MINDSPORE_EMBEDDING if name == EMBEDDING else name


def is_training_state(name: str) -> bool:
    """Whether a checkpoint entry belongs to an optimizer or a training loop."""
    return bool(_PER_WEIGHT.match(name) or _COUNTERS.fullmatch(name))

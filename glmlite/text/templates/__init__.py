"""Prompt templates: how messages become ids, and replies become messages; one file per family."""

from __future__ import annotations

from glmlite.errors import TokenizerError
from glmlite.text.templates.base import PromptTemplate, TokenEncoder
from glmlite.text.templates.glm2 import Glm2Template
from glmlite.text.templates.glm3 import Glm3Template

__all__ = ["Glm2Template", "Glm3Template", "PromptTemplate", "TokenEncoder", "template_for"]


def template_for(family: str, tokenizer: TokenEncoder) -> PromptTemplate:
    """The template of a family, for the ids of `tokenizer`.

    Raises:
        TokenizerError: the family has none.
    """
    if family == "glm2":
        return Glm2Template(tokenizer)
    if family == "glm3":
        return Glm3Template(tokenizer)
    raise TokenizerError("The family {family!r} has no chat template.", family=family)

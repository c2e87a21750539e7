"""Text to ids and back: tokenizer, prompt templates, streaming detokenizer, replies."""

from glmlite.text.detokenizer import StreamingDetokenizer
from glmlite.text.replies import Reply, ReplyFilter, ToolCall
from glmlite.text.templates import Glm2Template, Glm3Template, PromptTemplate, template_for
from glmlite.text.tokenizer import Tokenizer, check_tokenizer

__all__ = [
    "Glm2Template",
    "Glm3Template",
    "PromptTemplate",
    "Reply",
    "ReplyFilter",
    "StreamingDetokenizer",
    "Tokenizer",
    "ToolCall",
    "check_tokenizer",
    "template_for",
]

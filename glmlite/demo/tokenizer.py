"""Train the demo's SentencePiece model: the layout of ChatGLM2's tokenizer, a small vocabulary."""

from __future__ import annotations

import io
import string
from pathlib import Path

from glmlite.demo.dialogues import load_corpus

NUM_PIECES = 1238
"""Pieces of the model; five special ids follow, and the sum is padded to a multiple of 32."""
SPECIAL_IDS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")


def padded_vocab_size(num_pieces: int, multiple: int = 32) -> int:
    """Rows of the embedding: pieces and special ids, padded."""
    return -(-(num_pieces + len(SPECIAL_IDS)) // multiple) * multiple


def _sentences() -> list[str]:
    lines = [f"[Round {n}]" for n in range(1, 10)]
    for dialogue in load_corpus():
        for turn in dialogue.turns:
            # As the prompt has them: no space, hence no "▁", before their first word.
            lines += [f"问：{question}" for question in turn.ask] + [f"答：{turn.answer}"]
    return lines


def train_tokenizer(path: Path) -> None:
    """Write a SentencePiece BPE model to `path`; the same corpus gives the same file.

    As in ChatGLM2: byte fallback (byte b is id b + 3), identity normalizer, dummy prefix, white
    space kept, unk 0, bos 1, eos 2. Unlike there, the pad id is none, which `-1` says.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_sentences()),
        model_writer=model,
        model_type="bpe",
        vocab_size=NUM_PIECES,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        character_coverage=1.0,
        required_chars=string.ascii_letters + string.digits + string.punctuation,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=1,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.getvalue())

"""A ChatGLM3 that always gives the same well-formed reply, for scripts that take replies apart.

Its layers add nothing to the embedding, and the output layer maps each token to its successor:
<|assistant|>, an empty first line, the reply, the end. So it runs as any other model does, and what
it says is known without running it.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from glmlite.model.config import from_huggingface
from glmlite.model.parameters import parameter_shapes
from glmlite.text import Tokenizer

DEMO = Path(__file__).parents[2] / "glmlite" / "demo" / "checkpoint"
REPLY = "我是示例"

_CONFIG = {
    "_name_or_path": "THUDM/chatglm3-6b",
    "model_type": "chatglm",
    "num_layers": 1,
    "hidden_size": 128,
    "num_attention_heads": 2,
    "kv_channels": 64,
    "ffn_hidden_size": 32,
    "multi_query_attention": True,
    "multi_query_group_num": 1,
    "padded_vocab_size": 1248,
    "seq_length": 512,
    "add_qkv_bias": True,
    "layernorm_epsilon": 1e-5,
}


def write_parrot(folder: Path, reply: str = REPLY) -> Path:
    """Write its checkpoint: a Hugging Face folder with the demo's tokenizer."""
    tokenizer = Tokenizer(DEMO / "tokenizer.model", "glm3")
    chain = [
        tokenizer.special_ids["<|assistant|>"],
        *tokenizer.encode("\n"),
        *tokenizer.vocabulary.encode_continuation(reply),
        tokenizer.eos_id,
    ]
    assert len(set(chain)) == len(chain), "a token must have one successor"
    shapes = parameter_shapes(from_huggingface(_CONFIG))
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for name in weights:
        if "layernorm" in name:
            weights[name][:] = 1.0
    embedding = np.random.default_rng(3).normal(size=(1248, 128)).astype(np.float32)
    weights["transformer.embedding.word_embeddings.weight"] = embedding
    for token, successor in itertools.pairwise(chain):
        weights["transformer.output_layer.weight"][successor] += embedding[token]
    folder.mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(_CONFIG), encoding="utf-8")
    (folder / "tokenizer.model").write_bytes((DEMO / "tokenizer.model").read_bytes())
    return folder

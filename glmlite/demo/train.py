"""Train the demo model: `python -m glmlite.demo.train [--output DIR] [--steps N] [--seed N]`.

MindSpore on a CPU, minutes on two cores. Writes a Hugging Face folder: config.json,
model.safetensors (float16, every weight rounded to it before the final check) and tokenizer.model.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint import open_checkpoint
from glmlite.demo import CHECKPOINT, Dialogue, load_corpus
from glmlite.demo.data import batches
from glmlite.demo.score import score
from glmlite.demo.tokenizer import NUM_PIECES, padded_vocab_size, train_tokenizer
from glmlite.model.config import ModelConfig, from_huggingface
from glmlite.text import Tokenizer

STEPS = 800
SEED = 20230625
PEAK_RATE = 3e-3
WARMUP = 50
WEIGHT_DECAY = 0.05
# (rows, tokens) of the batches, in turn: short conversations, and those that fill the context.
SHAPES = [(20, 96), (20, 96), (20, 96), (4, 512)]


def official_config() -> dict[str, Any]:
    """config.json with the official keys of ChatGLM2-6B and the demo's sizes."""
    return {
        "_name_or_path": "glmlite/demo-chatglm2",
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True,
        "ffn_hidden_size": 352,
        "fp32_residual_connection": False,
        "hidden_dropout": 0.0,
        "hidden_size": 160,
        "kv_channels": 32,
        "layernorm_epsilon": 1e-05,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "num_attention_heads": 4,
        "num_layers": 3,
        "original_rope": True,
        "padded_vocab_size": padded_vocab_size(NUM_PIECES),
        "post_layer_norm": True,
        "rmsnorm": True,
        "seq_length": 512,
        "use_cache": True,
        "torch_dtype": "float16",
        "tie_word_embeddings": False,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def learning_rates(steps: int) -> list[float]:
    """Linear warm-up, then a cosine to a hundredth of the peak; one rate for each step."""
    rates = []
    for step in range(steps):
        if step < WARMUP:
            rates.append(PEAK_RATE * (step + 1) / WARMUP)
        else:
            part = (step - WARMUP) / max(1, steps - WARMUP)
            rates.append(PEAK_RATE * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part))))
    return rates


def fit(
    config: ModelConfig, tokenizer: Tokenizer, corpus: tuple[Dialogue, ...], steps: int, seed: int
) -> dict[str, NDArray[np.float32]]:
    """Train from random weights; returns float32 arrays under Hugging Face names."""
    import mindspore as ms
    from mindspore import Tensor, nn, ops

    from glmlite.demo.network import Glm2, answer_loss, initial_weights

    ms.set_seed(seed)
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    net = Glm2(config, initial_weights(config, seed))
    params = net.trainable_params()
    matrices = [p for p in params if p.ndim == 2]
    vectors = [p for p in params if p.ndim == 1]
    optimizer = nn.AdamWeightDecay(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors}],
        learning_rate=learning_rates(steps),
        beta2=0.98,
    )
    weights = optimizer.parameters

    def loss_of(ids: Any, labels: Any) -> Any:
        return answer_loss(net(ids), ops.reshape(labels, (-1,)))

    gradient = ms.value_and_grad(loss_of, None, weights)

    @ms.jit  # type: ignore[untyped-decorator]
    def train_step(ids: Any, labels: Any) -> Any:
        loss, gradients = gradient(ids, labels)
        optimizer(ops.clip_by_global_norm(gradients, 1.0))
        return loss

    started = time.perf_counter()
    average = None
    for step, (ids, labels) in enumerate(batches(corpus, tokenizer, SHAPES, seed), 1):
        loss = float(train_step(Tensor(ids), Tensor(labels)).asnumpy())
        average = loss if average is None else 0.95 * average + 0.05 * loss
        if step % 50 == 0 or step == steps:
            seconds = time.perf_counter() - started
            print(f"step {step}/{steps}  loss {average:.4f}  {seconds:.0f} s", flush=True)
        if step == steps:
            break
    return {p.name: p.asnumpy() for p in params}


def save(folder: Path, weights: dict[str, NDArray[np.float16]]) -> None:
    """Write config.json and model.safetensors."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(official_config(), indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def main(argv: list[str] | None = None) -> int:
    """Train, round to float16, write, and ask everything; status 1 when an answer is wrong."""
    parser = argparse.ArgumentParser(prog="python -m glmlite.demo.train", description=__doc__)
    parser.add_argument("--output", type=Path, default=CHECKPOINT)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args(argv)

    train_tokenizer(args.output / "tokenizer.model")
    tokenizer = Tokenizer(args.output / "tokenizer.model", family="glm2")
    config = from_huggingface(official_config())
    corpus = load_corpus()
    weights = fit(config, tokenizer, corpus, args.steps, args.seed)
    save(args.output, {name: value.astype(np.float16) for name, value in weights.items()})
    result = score(config, open_checkpoint(args.output), tokenizer, corpus)
    print(result)
    for question in result.wrong:
        print(f"  wrong: {question}")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a manifest records of quantization's cost; bounded, whatever the model's size."""

from __future__ import annotations

import dataclasses

from glmlite.finite import is_finite

WORST_TENSORS = 10


@dataclasses.dataclass(frozen=True)
class TensorAccuracy:
    """What quantization did to one matrix.

    Attributes:
        name: Hugging Face name.
        weight_error: ‖quantized - float‖ / ‖float‖ of the matrix.
        output_error: the same of its products with what enters it, mean over tokens.
    """

    name: str
    weight_error: float
    output_error: float


@dataclasses.dataclass(frozen=True)
class AccuracyEntry:
    """What quantization cost on a text: the float weights against the quantized ones.

    Attributes:
        text: what it was. tokens: ids that were predicted. window: ids of the longest window.
        perplexity_before: of the float weights. perplexity: of the quantized ones.
        kl_mean: mean Kullback-Leibler divergence of the next token's distribution, in nats, from
            the float one to the quantized one. kl_max: the largest.
        top1: share of tokens whose likeliest next token stayed the same.
        activations: what was done to what enters the matrices, in words; "float32": nothing.
        layers: relative error of the hidden states after the embedding and after each layer.
        tensors: the worst ones, by output_error, worst first; at most WORST_TENSORS.
    """

    text: str
    tokens: int
    window: int
    perplexity_before: float
    perplexity: float
    kl_mean: float
    kl_max: float
    top1: float
    activations: str = "float32"
    layers: tuple[float, ...] = ()
    tensors: tuple[TensorAccuracy, ...] = ()

    def __post_init__(self) -> None:
        numbers = [getattr(self, f.name) for f in dataclasses.fields(self) if f.type == "float"]
        numbers += self.layers
        numbers += [
            x for tensor in self.tensors for x in (tensor.weight_error, tensor.output_error)
        ]
        if not all(is_finite(number) for number in numbers):
            raise ValueError("accuracy holds what is no number")
        if min(self.perplexity_before, self.perplexity) <= 0:
            raise ValueError("accuracy holds a perplexity of nothing")
        if len(self.tensors) > WORST_TENSORS:
            raise ValueError(f"accuracy lists more than {WORST_TENSORS} tensors")

"""How long a step takes: what it moves and computes, over what is reached of a device's peaks."""

from __future__ import annotations

import dataclasses

from glmlite.planning.devices import Device, Factor, Gain
from glmlite.planning.subject import Subject
from glmlite.planning.work import (
    Step,
    activation_values,
    attention_flops,
    cache_traffic,
    product_flops,
)

NO_GAIN = Gain(1.0, 1.0, 1.0, "")
NOTHING = Gain(0.0, 0.0, 0.0, "")


@dataclasses.dataclass(frozen=True)
class Speed:
    """Tokens a second, of all rows together.

    Attributes:
        value: the estimate. low, high: with the extremes of the shares behind it.
        limit: if the device's peaks were reached.
    """

    value: float
    low: float
    high: float
    limit: float


@dataclasses.dataclass(frozen=True)
class Reach:
    """What one phase reaches of a device's peaks.

    Attributes:
        read: share of the bandwidth.
        compute: share of the arithmetic.
        product: the arithmetic of the kernels for these weights, in units of the device's `flops`.
            Attention has no weights: it runs at the device's.
        value_flops: what everything but products takes, for each value of the activations, in
            operations of the device's.
        extra: seconds beside a step's arithmetic.
        least: seconds that a step takes, whatever it moves.
    """

    read: Factor
    compute: Factor
    product: Gain = NO_GAIN
    value_flops: Gain = NOTHING
    extra: float = 0.0
    least: float = 0.0


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What a step moves.

    Attributes:
        weights: bytes of them.
        cache_size: bytes of one value of the cache.
        in_place: whether the cache is appended to instead of rewritten. Only filled slots count
            then: half of them, as in an answer that fills the cache.
    """

    weights: int
    cache_size: int
    in_place: bool


def phase_speed(
    subject: Subject, device: Device, tokens: int, traffic: Traffic, reach: Reach
) -> Speed:
    """Tokens a second where every row is fed so many of them.

    Args:
        subject: the model and its sizes.
        device: its peaks.
        tokens: T of the step.
        traffic: what it moves.
        reach: what it reaches of the peaks.
    """
    model, stored = subject.model, subject.layout(device.kind)
    slots = subject.cache_length // 2 if traffic.in_place else subject.cache_length
    step = Step(subject.batch_size, tokens, slots)
    moved = traffic.weights + cache_traffic(model, step, traffic.cache_size, traffic.in_place)
    products = product_flops(step, stored.matrix_values, stored.head_values)
    attention, values = attention_flops(model, step), activation_values(model, step)

    def rate(read: float, compute: float, product: float, value: float, least: float) -> float:
        flops = (products / product + attention) / compute + values * value
        seconds = max(moved / (device.bandwidth * read), flops / device.flops, least)
        return tokens * subject.batch_size / (seconds + reach.extra)

    read, compute, product, value = reach.read, reach.compute, reach.product, reach.value_flops
    return Speed(
        value=rate(read.value, compute.value, product.value, value.value, reach.least),
        low=rate(read.low, compute.low, product.low, value.high, reach.least),
        high=rate(read.high, compute.high, product.high, value.low, reach.least),
        limit=rate(1.0, 1.0, product.high, 0.0, 0.0),
    )

"""What a call gets when nobody takes it over: good, rejectable or broken, by fixed chances."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from nanobatch.simulator import answers
from nanobatch.simulator.call import Call
from nanobatch.simulator.chance import luck

if TYPE_CHECKING:
    from nanobatch.simulator.answer import Answer
    from nanobatch.simulator.drawing import Kind

__all__ = ["Setting", "read_setting", "usual_answer"]

Setting = float | Mapping[str, float] | Callable[[Call], float]
"""A number for all calls, by model id, or worked out for each call."""

_REJECTABLE: tuple[Kind, ...] = ("blank", "dark")


def read_setting(
    setting: Setting, name: str, *, default: float, most: float = math.inf
) -> Callable[[Call], float]:
    """Return a setting as a function of the call; models that a mapping lacks have the default.

    Raises:
        ValueError: A number is below 0, above `most` or not a number; for a function, when called.
    """

    def checked(value: float) -> float:
        if not 0 <= value <= most:
            limits = "0 or more" if math.isinf(most) else f"between 0 and {most:g}"
            raise ValueError(f"{name} must be {limits}, not {value}.")
        return value

    if callable(setting):
        return lambda call: checked(setting(call))
    if isinstance(setting, Mapping):
        by_model = {model: checked(value) for model, value in setting.items()}
        return lambda call: by_model.get(call.model, default)
    value = checked(setting)
    return lambda _: value


def usual_answer(seed: int, call: Call, *, regenerate_rate: float, accept_rate: float) -> Answer:
    """Return the answer of one call, decided by the seed and the call alone."""
    if luck(seed, call, "regenerate").random() < regenerate_rate:
        is_empty = luck(seed, call, "how broken").random() < 0.5  # noqa: PLR2004 - a coin
        return answers.no_image() if is_empty else answers.truncated_image()
    if luck(seed, call, "accept").random() < accept_rate:
        return answers.image()
    return answers.image(luck(seed, call, "how bad").choice(_REJECTABLE))

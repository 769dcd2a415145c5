"""One wording for thresholds that cannot be meant."""

from __future__ import annotations

from nanobatch.errors import ConfigError

__all__ = ["check_thresholds"]


def check_thresholds(owner: object, *names: str, upto: float) -> None:
    """Refuse thresholds outside 0 to `upto`.

    Args:
        owner: The filter.
        names: Which of its attributes are thresholds of that range.
        upto: The largest value that can be meant.

    Raises:
        ConfigError: A threshold is outside, or no number.
    """
    for name in names:
        value: float = getattr(owner, name)
        if not 0 <= value <= upto:
            raise ConfigError(
                f"{type(owner).__name__}: {name} must be from 0 to {upto:g}, not {value!r}."
            )

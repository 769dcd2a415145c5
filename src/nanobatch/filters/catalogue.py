"""Filters by name: the built-in ones, those used by default, and those other packages bring.

A package offers a filter as an entry point of the group `nanobatch.filters`; it names a filter
class, or an object that is a filter already:

    [project.entry-points."nanobatch.filters"]
    blurry = "my_package:Blurry"
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, cast

from nanobatch.errors import ConfigError
from nanobatch.filters.borders import NoBorders
from nanobatch.filters.exposure import Exposure
from nanobatch.filters.file import Decodes, MinBytes
from nanobatch.filters.frame import AspectRatio, MinSize
from nanobatch.filters.near_duplicate import NearDuplicate
from nanobatch.filters.picture import Alpha, NotBlank
from nanobatch.filters.protocol import checked
from nanobatch.filters.sharpness import Sharpness
from nanobatch.filters.tiled import NotTiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint

    from nanobatch.filters.protocol import AnyFilter, Filter

__all__ = ["available", "default", "load", "only_looks"]

_GROUP: Final = "nanobatch.filters"
_OURS: Final = "nanobatch"
_BUILT_IN: Final = {
    "alpha": Alpha,
    "aspect_ratio": AspectRatio,
    "decodes": Decodes,
    "exposure": Exposure,
    "min_bytes": MinBytes,
    "min_size": MinSize,
    "near_duplicate": NearDuplicate,
    "no_borders": NoBorders,
    "not_blank": NotBlank,
    "not_tiled": NotTiled,
    "sharpness": Sharpness,
}
_LOOKING: Final = frozenset(_BUILT_IN.values()) - {NearDuplicate}


def default() -> tuple[Filter, ...]:
    """Return the filters of a pipeline that was given none.

    They reject what nobody wants: a tiny file, another shape, an empty picture. None of them
    judges what is drawn or how well. `Exposure`, `Sharpness`, `NotTiled`, `NoBorders` and `Alpha`
    are not among them, since a prompt may ask for what they reject: pastel shades, a soft
    gradient, a pattern, a frame, a cut-out. A wrong rejection is paid for, so add them where they
    fit.
    """
    return (MinBytes(10_000), Decodes(), AspectRatio(), NotBlank())


def only_looks(one: AnyFilter) -> bool:
    """Return whether a filter is one of ours that costs nothing, waits for nobody, keeps nothing.

    Of a class made from one of ours nobody knows.
    """
    return type(one) in _LOOKING


def available() -> dict[str, str]:
    """Return the name of every filter that `load` can find, and the package it comes from.

    Imports nothing. A name that two packages claim shows both; `load` refuses it.
    """
    packages = dict.fromkeys(_BUILT_IN, _OURS)
    for offer in _offers():
        package = _package_of(offer)
        packages[offer.name] = (
            f"{packages[offer.name]}, {package}" if offer.name in packages else package
        )
    return dict(sorted(packages.items()))


def load(name: str, /, **options: object) -> AnyFilter:
    """Return the filter of that name, made with `options` if it is a class.

    Args:
        name: As `available` lists it, for instance `min_bytes`.
        options: What the class takes, for instance `min_bytes=40_000`.

    Raises:
        ConfigError: No filter has that name or two packages claim it, its package does not
            import, it does not take these options, or it is no filter.
    """
    offers = [offer for offer in _offers() if offer.name == name]
    packages = [_OURS] * (name in _BUILT_IN) + [_package_of(offer) for offer in offers]
    if not packages:
        raise ConfigError(_unknown(name, available()))
    if len(packages) > 1:
        raise ConfigError(
            f"Filter {name!r} is claimed by {' and '.join(packages)}: "
            "uninstall one, or import the filter itself and pass it on."
        )
    what = f"Filter {name!r} of package {packages[0]}"
    found = _imported(offers[0], what=what) if offers else _BUILT_IN[name]
    if isinstance(found, type):
        found = _made(cast("Callable[..., object]", found), options, what=what)
    elif options:
        raise ConfigError(f"{what} is ready to use and takes no options; got {_listed(options)}.")
    try:
        return checked(found)
    except ConfigError as error:
        raise ConfigError(f"{what} is no filter. {error}") from None


def _offers() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - heavy: imported when used

    return list(entry_points(group=_GROUP))


def _package_of(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist is not None else offer.module


def _imported(offer: EntryPoint, *, what: str) -> object:
    try:
        return cast("object", offer.load())
    except Exception as error:  # other people's module may raise anything
        raise ConfigError(
            f"{what} cannot be imported from {offer.value!r}: {type(error).__name__}: {error}"
        ) from error


def _made(kind: Callable[..., object], options: dict[str, object], *, what: str) -> object:
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:  # a ConfigError is a ValueError
        with_options = f"with {_listed(options)}" if options else "without options"
        raise ConfigError(f"{what} cannot be made {with_options}: {error}") from error


def _unknown(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {_listed(names)}."
    return f"There is no filter {name!r}; {hint}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))

# SPDX-License-Identifier: Apache-2.0
"""Command line options from the fields of a settings dataclass, with its defaults."""

import argparse
import re
from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from infinitevggt_ros.errors import CommandError

Settings = TypeVar("Settings")


def add_options(
    parser: argparse.ArgumentParser, kind: type[Any], *, without: Collection[str] = ()
) -> None:
    """Add one option per field of `kind` and of the settings nested in it.

    without: names of fields to leave out. Options that are not given are absent from the result.
    """
    for field in option_fields(kind):
        if field.name in without:
            continue
        arguments = _arguments(field)
        parser.add_argument(option_name(field.name), default=argparse.SUPPRESS, **arguments)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads; 0 stands for all cores but one."""
    parser.add_argument(
        "--threads",
        type=_threads,
        default=0,
        metavar="N",
        help="processor threads; default: all cores but one",
    )


def apply_options(settings: Settings, options: argparse.Namespace) -> Settings:
    """Return `settings` changed by the options that were given. Raises CommandError."""
    try:
        return _applied(settings, vars(options))
    except ValueError as error:
        raise CommandError(str(error)) from error


def option_fields(kind: type[Any]) -> Iterator[Field[Any]]:
    """Yield the fields of `kind`, and those of nested settings in their place."""
    for field in fields(kind):
        inner = field.default_factory
        if inner is not MISSING and is_dataclass(inner):
            yield from option_fields(inner)
        else:
            yield field


def option_name(name: str) -> str:
    """Return --total-budget for total_budget."""
    return f"--{name.replace('_', '-')}"


def image_size(text: str) -> tuple[int, int]:
    """Convert HxW, px, to height and width; a type for argparse."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    height, width = map(int, match.groups()) if match else (0, 0)
    if not (8 <= height <= 4096 and 8 <= width <= 4096):
        raise argparse.ArgumentTypeError(f"{text} must be HxW, such as 240x320, 8 to 4096 each")
    return height, width


def rate_hz(text: str) -> Fraction:
    """Convert images per second; a type for argparse."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"{text} must be a rate above 0 Hz")
    return rate


def _threads(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"{text} must be a number from 1 to 1024")
    return int(text)


def _applied(settings: Any, given: dict[str, Any]) -> Any:
    changes = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            changes[field.name] = _applied(value, given)
        elif field.name in given:
            changes[field.name] = given[field.name]
    return replace(settings, **changes)


def _arguments(field: Field[Any]) -> dict[str, Any]:
    metadata = field.metadata
    unit = f" {metadata['unit']}" if metadata["unit"] else ""
    default = f" (default: {field.default}{unit})" if field.default != "" else ""
    text = f"{metadata['text']}{default}".replace("%", "%%")
    if isinstance(field.default, bool):
        return {"action": argparse.BooleanOptionalAction, "help": text}
    arguments: dict[str, Any] = {"type": type(field.default), "help": text}
    if metadata["choices"]:
        return {**arguments, "choices": metadata["choices"]}
    return {**arguments, "metavar": {int: "N", float: "X", str: "TEXT"}[type(field.default)]}

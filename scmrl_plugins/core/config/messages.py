"""Error messages for configurations, in one line: the key, the problem, and where it was set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from scmrl_plugins.registry import UserError
from scmrl_plugins.registry.errors import near, shortened

_LONGEST = 100
"""Of a key, a value or a source in a message."""


def explain(error: ValidationError, model: type[BaseModel], prefix: str, sources: Mapping[str, str]) -> UserError:
    """Pydantic's first error in one line: the key, the problem, and where it was set."""
    first = error.errors(include_url=False)[0]
    loc = list(first["loc"])
    if first["type"] != "extra_forbidden":  # its last part is the user's key, which may contain brackets
        loc = [part for part in loc if not (isinstance(part, str) and "[" in part)]
    key = ".".join(str(part) for part in ([prefix] if prefix else []) + list(loc))
    if first["type"] == "extra_forbidden":
        keys = _keys(model, loc[:-1])
        complaint = f"unknown key{near(str(loc[-1]), keys) or '; known keys are ' + (', '.join(keys) or 'none')}"
    elif first["type"] == "missing":
        complaint = "is missing"
    elif (digits := _digits(first["input"])) > _LONGEST:
        complaint = f"a number of {digits:,} digits is too large"
    else:
        message = first["msg"].removeprefix("Value error, ")
        complaint = message[:1].lower() + message[1:]
        given = repr(first["input"])
        if len(given) <= 60 and not isinstance(first["input"], dict):
            complaint += f", got {given}"
    return UserError(f"{shortened(key, _LONGEST)}: {complaint}{where_set(key, sources)}")


def _digits(value: object) -> int:
    """About how many digits an integer has; one of more than 4,300, which Python does not parse, is a string."""
    if isinstance(value, int):
        return value.bit_length() * 3 // 10  # ten bits are three digits; str fails for long numbers
    return len(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d[\d_]*", value) else 0


def _keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys of the model at ``loc`` inside ``model``."""
    for part in loc:
        field_info = model.model_fields.get(str(part))
        annotation = field_info.annotation if field_info else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)


def where_set(key: str, sources: Mapping[str, str]) -> str:
    """`` (in my.toml)``: the source of a key or else of its section, or an empty string."""
    while key and key not in sources:
        key = key.rpartition(".")[0]
    return f" (in {shortened(sources[key], 2 * _LONGEST)})" if key else ""

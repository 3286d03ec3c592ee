"""`--storage-option KEY=VALUE`: options of a file system, as the command line gives them."""

import json
import re
from collections.abc import Sequence
from typing import Any

from shardkit.errors import UsageError

JSON = re.compile(r"true|false|\{.*\}|\[.*\]|\".*\"", re.DOTALL)
NUMBER = re.compile(r"0|[1-9][0-9]*")
CREDENTIAL = re.compile(r"key|secret|token|password|account", re.IGNORECASE)
"""In an option's name: what looks like a number is none."""


def parse_storage_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Options by name; a dot in a key leads into a mapping.

    A value is text, unless it is `true`, `false`, a whole number that is no credential, or a JSON object, list or
    string.

    Raises:
        UsageError: A pair has no key or no `=`, its key leads into what is a value, or its JSON is none.

    Example:
        >>> parse_storage_options(["anon=true", "key=AB12", "client_kwargs.region_name=eu-west-1"])
        {'anon': True, 'key': 'AB12', 'client_kwargs': {'region_name': 'eu-west-1'}}
    """
    options: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        *path, name = key.split(".")
        if not equals or not all((*path, name)):
            raise UsageError(
                f"--storage-option {pair}: KEY=VALUE is needed, such as key=AB12 or config_kwargs.signature=v4"
            )
        place = options
        for step in path:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise UsageError(f"--storage-option {key}: {step!r} has a value of its own already; give one of them")
        place[name] = _value(key, text)
    return options


def _value(key: str, text: str) -> Any:
    if NUMBER.fullmatch(text) and not CREDENTIAL.search(key.rsplit(".", 1)[-1]):
        return int(text)
    if not JSON.fullmatch(text):
        return text
    try:
        return json.loads(text)
    except ValueError as exc:
        raise UsageError(f"--storage-option {key}: its value looks like JSON and is none: {exc}") from exc

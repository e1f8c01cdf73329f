"""What may stand behind the colon of a configuration: `FILE.py:depth=101,init=nl`.

A configuration declares its arguments as a frozen dataclass, whose types say what is allowed:

    @dataclasses.dataclass(frozen=True)
    class Arguments:
        method: Literal["simclr", "supcon", "pnl"] = "pnl"
        depth: Literal[18, 50] = 50

    def get_config(text: str = "") -> ConfigDict:
        given = arguments.parse(text, Arguments)
"""

import difflib
import typing
from typing import Any, Literal, TypeVar

from data_pipeline.errors import InputError, suggest
from luperson_jax.setting_values import typed

Arguments = TypeVar("Arguments")


def parse(text: str, kind: type[Arguments]) -> Arguments:
    """The arguments that a text such as "depth=101,init=nl" gives; the rest keep their defaults.

    Args:
        text: `name=value`, separated by commas.
        kind: a dataclass with a default for every field; bool, int, float, str or Literal.

    Raises:
        InputError: unknown name, wrong value.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if name not in hints:
            raise InputError(f"argument {part!r} is not known{suggest(name, hints)}")
        if not equals:
            raise InputError(f"argument {part!r}: expected {name}=...")
        values[name] = _value(value, hints[name], name)
    return kind(**values)


def _value(text: str, hint: Any, name: str) -> Any:
    if typing.get_origin(hint) is not Literal:
        return typed(text, hint, f"argument {name}")
    choices = {str(choice): choice for choice in typing.get_args(hint)}
    if text not in choices:
        near = difflib.get_close_matches(text, choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        words = ", ".join(filter(None, choices))
        raise InputError(f"argument {name}={text}; expected {words}{hint}")
    return choices[text]

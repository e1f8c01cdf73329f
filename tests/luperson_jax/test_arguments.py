"""Arguments of configurations: typed by a dataclass, and wrong ones are named."""

import dataclasses
from typing import Literal

import pytest

from data_pipeline.errors import InputError
from luperson_jax import arguments


@dataclasses.dataclass(frozen=True)
class Example:
    """One field of every type that may stand there."""

    method: Literal["", "simclr", "supcon"] = ""
    depth: Literal[18, 50] = 50
    ratio: float = 1.0
    repeat: int = 1
    clip: bool = False
    name: str = "a"


def test_arguments_are_read_and_the_rest_keeps_its_default():
    text = "depth=18, method=supcon,ratio=1,repeat=2,clip=true,"
    assert arguments.parse(text, Example) == Example("supcon", 18, 1.0, 2, True, "a")
    assert arguments.parse("", Example) == Example()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dept=18", "'dept=18' is not known; did you mean 'depth'"),
        ("depth", "expected depth=..."),
        ("depth=deep", "expected 18, 50$"),
        ("depth=51", "depth=51; expected 18, 50$"),
        ("method=supkon", "expected simclr, supcon; did you mean 'supcon'"),
        ("ratio=half", "argument ratio=half: expected a number"),
        ("repeat=2.5", "expected a whole number"),
        ("clip=perhaps", "expected True or False"),
    ],
)
def test_wrong_arguments_are_named(text, words):
    with pytest.raises(InputError, match=words):
        arguments.parse(text, Example)

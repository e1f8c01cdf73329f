"""Files of weights that are not read."""

import pytest

from data_pipeline.errors import InputError
from luperson_jax.weights import files


def refused(path, *words) -> str:
    """The message with which a file is refused; it names the file and holds the words."""
    with pytest.raises(InputError) as raised:
        files.read(path)
    message = str(raised.value)
    for word in (str(path), *words):
        assert word in message, message
    assert "\033" not in message
    return message

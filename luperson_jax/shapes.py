"""jaxtyping's annotations for modules that a command needs before it begins its work.

They check nothing but in tests, and to import jaxtyping takes longer than NumPy. So here they stand
for the plain array, unless jaxtyping is loaded already, as in tests and in whatever uses JAX.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
else:

    class _Unchecked:
        def __class_getitem__(cls, array_and_shape):
            return array_and_shape[0]

    Bool = Float = Int = _Unchecked

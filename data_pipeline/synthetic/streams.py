"""Independent random streams addressed by name, so that no draw depends on the order of calls."""

import numpy as np

PERSON, CAMERA, SCENE, CAPTURE, FRAME, EMPTY, LAYOUT = range(7)


def stream(seed: int, kind: int, *address: int) -> np.random.Generator:
    """The generator of one thing in the world.

    Args:
        seed: seed of the world, not negative.
        kind: what is drawn, one of the constants of this file.
        address: which one: person, camera, instance and so on, each not negative.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, kind, *address])))

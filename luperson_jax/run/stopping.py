"""When a run that was sent a signal stops: after the same step in all processes of its job."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from data_pipeline.interruption import Interrupted, Signalled
from luperson_jax import sharding


class Stop:
    """Asks after every step whether a signal has come, to any process of the job.

    Several processes compare on the devices, and look at the answer one step later: the step after
    it is under way by then, and no device waits.

    Attributes:
        number: of the signal, once all processes know of it; 0 so far as there is none.
    """

    def __init__(self, signalled: Signalled, mesh: Mesh) -> None:
        self.number = 0
        self._signalled = signalled
        self._alone = jax.process_count() == 1
        self._asked: jax.Array | None = None
        self._placed = sharding.over_batch(mesh)
        self._highest = jax.jit(jnp.max, out_shardings=sharding.replicated(mesh))

    def after_step(self) -> None:
        """Sets `number` where the run is to stop."""
        if self._alone:
            self.number = self._signalled.number
            return
        former, own = self._asked, np.full(jax.local_device_count(), self._signalled.number)
        array = jax.make_array_from_process_local_data(self._placed, own.astype(np.int32))
        self._asked = self._highest(array)
        if former is not None:
            self.number = int(former)

    def check(self) -> None:
        """Raises Interrupted where the run is to stop; what was trained must be saved by then."""
        if self.number:
            raise Interrupted(self.number)

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """A block with nothing to save, which a signal ends at once. Processes of a job that
        others would wait for go on to the next step instead."""
        with self._signalled.ending(allowed=self._alone):
            yield

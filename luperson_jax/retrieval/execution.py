"""How a comparison of two sets is carried out; asking for it imports no JAX."""

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from luperson_jax import platforms

if TYPE_CHECKING:
    from jax.sharding import Mesh


class TileShape(NamedTuple):
    """Rows of queries and of the gallery that one device compares at once."""

    queries: int
    gallery: int


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a comparison is carried out. Nothing of it changes a report; of distances that are shown,
    the tile may change a last bit.

    Attributes:
        tile: queries and gallery rows that a device compares at once; None for what suits it.
        mesh: devices that share the gallery; None for all of this process.
    """

    tile: TileShape | None = None
    mesh: "Mesh | None" = None

    @property
    def on_host(self) -> bool:
        """Whether tiles are best reduced by the host: on a CPU, unless a mesh was asked for."""
        return self.mesh is None and platforms.only_cpu()


ANYHOW = Execution()

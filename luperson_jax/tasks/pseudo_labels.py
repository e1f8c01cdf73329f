"""What methods share that train on clusters of their own features.

`extra["labels"]` [N] int32 holds the cluster of every training image, -1 for none. It is made at
the start of an epoch and stands in the checkpoint, so that a run that resumes inside the epoch
draws the same batches. True identities are for the logged figures alone.
"""

import dataclasses

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.table.records import Table
from luperson_jax.clustering import grouping, quality
from luperson_jax.structs import Tree


@dataclasses.dataclass(frozen=True)
class ClusterOptions:
    """Settings of the clustering, in the group `task`."""

    k1: int = 30  # neighbors whose lists are compared
    k2: int = 6  # neighborhoods that are averaged
    eps: float = 0.6  # Jaccard distance up to which images are neighbors
    min_samples: int = 4  # neighbors of a core, itself included

    @property
    def grouping(self) -> grouping.Grouping:
        """How images are grouped."""
        names = [field.name for field in dataclasses.fields(grouping.Grouping)]
        return grouping.Grouping(**{name: getattr(self, name) for name in names})


def check(options: ClusterOptions) -> None:
    """Raises InputError where the settings cannot be meant, before anything is computed."""
    if not 0 < options.eps < 1:
        raise InputError(
            f"task.eps={options.eps} must be above 0 and below 1: a Jaccard distance, usually 0.4 "
            "to 0.7"
        )
    if not 1 <= options.k2 <= options.k1:
        raise InputError(f"task.k2={options.k2} must be from 1 to task.k1={options.k1}")
    if options.min_samples < 1:
        raise InputError(f"task.min_samples={options.min_samples} must be at least 1")


def check_found(labels: np.ndarray, options: ClusterOptions) -> None:
    """Raises InputError where clusters [N] are too few to tell apart."""
    number = int(labels.max(initial=-1)) + 1
    if number < 2:
        found = "no cluster" if number == 0 else "one cluster"
        change = "raise" if number == 0 else "lower"
        raise InputError(
            f"the clustering found {found} among {len(labels)} images, and at least 2 are needed: "
            f"{change} task.eps={options.eps}, or start from weights that tell persons apart "
            "(train.init_from)"
        )


def figures(
    found: grouping.Clusters, labels: np.ndarray, before: Tree, table: Table
) -> dict[str, float]:
    """What is logged of the clusters of an epoch, as `clusters/NAME`; see `quality.figures`.

    Args:
        found: the clusters.
        labels: [N] those that are trained on.
        before: labels of the epoch before.
        table: the training images.
    """
    values = quality.figures(found.pairs, labels, np.asarray(before), table.camera, table.pid)
    return {f"clusters/{name}": value for name, value in values.items()}


def labelled(table: Table, labels: Tree) -> Table:
    """The table with clusters [N] in place of identities."""
    return dataclasses.replace(table, pid=np.asarray(labels, np.int64))

"""The 90 / 10 protocol of the CMPE597 project: most of a training set to pre-train on without
labels, a tenth of its identities to fine-tune on.

Fine-tuning takes the identities of LUPerson's list at 10 % (of Market-1501: 75 with 1170 images).
The pre-training part comes in two forms:

- corrected: every identity that the fine-tuning part lacks (of Market-1501: 676), so that the two
  share nobody;
- as published: 11651 images of 660 identities of Market-1501. Their list was never published. The
  first 11651 images in the order of their names hold exactly 660 identities, whereas identities
  drawn at random would have some 11370 images (standard deviation 96), so this is taken for the
  rule. It is an inference. By it the two parts share 64 of the 75 identities.
"""

import numpy as np

from data_pipeline.subsets import draw
from data_pipeline.table.records import Table

FINETUNE_RATIO = 0.10
PUBLISHED_IMAGES, PUBLISHED_OF = 11651, 12936

FINETUNE_FILE = "cmpe597/finetune_ids.txt"
PRETRAIN_FILE = "cmpe597/pretrain_disjoint_ids.txt"
PRETRAIN_PUBLISHED_FILE = "cmpe597/pretrain_published_ims.txt"


def num_pretrain_ids(table: Table) -> int:
    """Identities of the corrected pre-training part: those that fine-tuning leaves."""
    return table.num_ids - draw.num_ids(table, FINETUNE_RATIO)


def num_published_images(table: Table) -> int:
    """Images of the published pre-training part; of other sets than Market-1501 the same share."""
    return max(len(table) * PUBLISHED_IMAGES // PUBLISHED_OF, 1)


def published_rows(table: Table) -> np.ndarray:
    """Rows of the published pre-training part, ascending: the first images by name."""
    named = draw.names(table)
    order = sorted(range(len(table)), key=named.__getitem__)
    return np.sort(np.array(order[: num_published_images(table)], np.int64))

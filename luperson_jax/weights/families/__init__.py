"""Every family of files, the more particular before the more general: the first match counts."""

from luperson_jax.weights.families.cluster_contrast import CLUSTER_CONTRAST
from luperson_jax.weights.families.fastreid import FASTREID, FASTREID_MGN
from luperson_jax.weights.families.foreign import FOREIGN
from luperson_jax.weights.families.pretraining import MOCO, PNL, SIMCLR
from luperson_jax.weights.families.slim import MOBILENET_SLIM, RESNETS_SLIM
from luperson_jax.weights.families.strong_baseline import STRONG_BASELINE
from luperson_jax.weights.families.torchvision import LUPERSON, NUMBERED, TORCHVISION

FAMILIES = {
    family.name: family
    for family in (
        *(PNL, MOCO, SIMCLR, CLUSTER_CONTRAST, STRONG_BASELINE),
        *(FASTREID_MGN, FASTREID, TORCHVISION, LUPERSON, NUMBERED),
        *(MOBILENET_SLIM, *RESNETS_SLIM),
    )
}
"""By the name that `--from` and `--to` take."""

__all__ = ["FAMILIES", "FOREIGN"]

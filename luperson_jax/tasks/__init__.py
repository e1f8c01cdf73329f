"""The methods, by the name that `task.name` has in a configuration."""

from luperson_jax.tasks.base import Task
from luperson_jax.tasks.calr import Calr
from luperson_jax.tasks.calr_local import CalrLocal
from luperson_jax.tasks.cluster_contrast import ClusterContrast
from luperson_jax.tasks.identify import Identify
from luperson_jax.tasks.moco import Moco
from luperson_jax.tasks.pnl import Pnl
from luperson_jax.tasks.simclr import SimClr
from luperson_jax.tasks.spcl import Spcl
from luperson_jax.tasks.supcont import SupCont
from luperson_jax.tasks.upmnet import Upmnet

TASKS: dict[str, type[Task]] = {
    "moco": Moco,
    "simclr": SimClr,
    "supcont": SupCont,
    "pnl": Pnl,
    "identify": Identify,
    "cluster_contrast": ClusterContrast,
    "spcl": Spcl,
    "calr": Calr,
    "calr_local": CalrLocal,
    "upmnet": Upmnet,
}
OPTIONS: dict[str, type] = {name: task.Options for name, task in TASKS.items()}

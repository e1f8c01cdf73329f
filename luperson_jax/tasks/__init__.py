"""The methods, by the name that `task.name` has in a configuration."""

from luperson_jax.tasks.base import Task
from luperson_jax.tasks.identify import Identify
from luperson_jax.tasks.moco import Moco

TASKS: dict[str, type[Task]] = {"moco": Moco, "identify": Identify}
OPTIONS: dict[str, type] = {name: task.Options for name, task in TASKS.items()}

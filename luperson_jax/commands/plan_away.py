"""`python -m luperson_jax.commands.plan_away`: answers a request of `luperson plan` as JSON.

Compilers of other machines want an environment of their own before JAX is imported.
"""

import json
import sys

from data_pipeline import terminal
from data_pipeline.errors import InputError
from luperson_jax import config, tasks
from luperson_jax.measure import chips
from luperson_jax.run import planning


def main() -> int:
    """Answers one request."""
    request = json.load(sys.stdin)
    try:
        recipe = config.resolve(request["recipe"], tasks.OPTIONS)
        table = planning.drawn_table(**request["table"])
        machine = chips.machine(request["on"])
        answer = planning.planned(recipe, tasks.TASKS[recipe.task.name], machine, table)
    except InputError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "a table of so many pictures does not fit into the memory here"}
    terminal.say(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())

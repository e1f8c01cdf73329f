"""Saving and restoring a run: asynchronous, atomic, and never trusting a damaged file."""

import hashlib
import json
import logging
import pathlib
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from data_pipeline.errors import InputError, shorten
from luperson_jax import trees
from luperson_jax.structs import Tree

MANIFEST = "digests.json"
BEST_METRIC = "mAP"


class Checkpoints:
    """The checkpoints of one workdir: the newest `keep` and the best one by eval mAP.

    A save runs in the background; once its files and their digests are written it becomes visible
    by a rename. A process killed at any moment leaves either the former checkpoints or one more.
    """

    def __init__(self, workdir: str | pathlib.Path, *, keep: int = 2, read_only: bool = False):
        self.folder = pathlib.Path(workdir).absolute() / "checkpoints"
        if read_only and not self.folder.is_dir():
            raise InputError(
                f"{workdir} holds no checkpoints: expected the folder {self.folder}; "
                "give the workdir of a run that has saved at least once"
            )
        self._read_only = read_only
        best = checkpoint_managers.BestN(
            get_metric_fn=_best_metric, n=1, keep_checkpoints_without_metrics=False
        )
        newest = checkpoint_managers.LatestN(n=keep)
        options = ocp.CheckpointManagerOptions(
            best_fn=_best_metric,
            preservation_policy=checkpoint_managers.AnyPreservationPolicy([newest, best]),
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def save(self, step: int, state: Tree, metrics: dict[str, float] | None = None) -> None:
        """Starts to save `state`; returns when the arrays are copied and may be donated."""
        self._manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)

    def steps(self) -> list[int]:
        """Steps saved, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The saved step with the highest eval mAP; None where none was evaluated."""
        return self._manager.best_step() if self.steps() else None

    def best(self) -> tuple[int, dict[str, float]] | None:
        """The step with the highest eval mAP and the figures it was saved with; None where none
        was evaluated. Waits for the save under way."""
        self._manager.wait_until_finished()
        step = self.best_step()
        figures = None if step is None else self._manager.metrics(step)
        return (step, dict(figures)) if step is not None and figures else None

    def restore(self, target: Tree, step: int | None = None) -> tuple[int, Tree] | None:
        """The newest undamaged checkpoint (or the one of `step`), placed as `target` is.

        Args:
            target: tree of arrays or `jax.ShapeDtypeStruct` with shardings.
            step: a certain one instead of the newest.

        Returns:
            (step, tree), or None where nothing was saved.

        Raises:
            InputError: checkpoints exist, but none is whole, or they hold other tensors.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        candidates = self.steps()[::-1] if step is None else [step]
        for candidate in candidates:
            problem = self._damage(candidate)
            if problem is None:
                self._check_tensors(candidate, abstract)
                try:
                    return candidate, self._manager.restore(
                        candidate, args=ocp.args.StandardRestore(abstract)
                    )
                except (ValueError, OSError, KeyError) as error:
                    problem = str(error).splitlines()[0]
            logging.warning("checkpoint %d in %s is damaged: %s", candidate, self.folder, problem)
            self._set_aside(candidate)
        if candidates:
            raise InputError(
                f"no whole checkpoint in {self.folder}: tried {candidates}, all are damaged; "
                "use another --workdir to start anew, or put a copy back"
            )
        return None

    def read(self, step: int | None = None) -> tuple[int, Tree]:
        """All tensors of a checkpoint as numpy arrays, without knowing its structure beforehand.

        On the host, because a run that takes them over may lie on other devices.
        """
        if not self.steps():
            raise InputError(f"no finished checkpoint in {self.folder}")
        device = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
        steps = self.steps()[::-1] if step is None else [step]
        shapes = next((shapes for one in steps if (shapes := self._shapes(one)) is not None), None)
        if shapes is None:
            raise InputError(f"no readable checkpoint in {self.folder}: tried {steps}")
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes
        )
        found = self.restore(target, step)
        assert found is not None
        return found[0], jax.tree.map(np.asarray, found[1])

    def close(self) -> None:
        """Waits for the save under way."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _shapes(self, step: int) -> Tree | None:
        try:
            return self._manager.item_metadata(step).tree
        except (ValueError, OSError, KeyError, AttributeError):
            return None

    def _check_tensors(self, step: int, abstract: Tree) -> None:
        """Raises InputError where the checkpoint and the run do not hold the same tensors."""
        tree = self._shapes(step)
        if tree is None:
            return  # unreadable: the restore that follows says so
        saved, wanted = _shapes_by_name(tree), _shapes_by_name(abstract)
        lines = [f"missing {name} {wanted[name]}" for name in sorted(wanted.keys() - saved.keys())]
        lines += [f"unknown {name} {saved[name]}" for name in sorted(saved.keys() - wanted.keys())]
        lines += [
            f"{name} is {saved[name]}, expected {wanted[name]}"
            for name in sorted(saved.keys() & wanted.keys())
            if saved[name] != wanted[name]
        ]
        if lines:
            raise InputError(
                f"checkpoint {step} in {self.folder} does not fit this run "
                f"({len(saved)} tensors there, {len(wanted)} expected):\n  "
                + "\n  ".join(shorten(lines))
                + "\n"
                "use the recipe that wrote it, or another workdir"
            )

    def _set_aside(self, step: int) -> None:
        """Renames a damaged checkpoint, so that the resumed run can save this step again."""
        if self._read_only:
            return
        if jax.process_index() == 0:
            (self.folder / str(step)).rename(self.folder / f"damaged-{step}-{time.time_ns()}")
        multihost_utils.sync_global_devices(f"damaged checkpoint {step}")
        self._manager.reload()

    def _seal(self) -> None:
        """Writes the digests of a save that is complete and not yet renamed."""
        if jax.process_index() == 0:
            for folder in self.folder.glob("*.orbax-checkpoint-tmp*"):
                names = {str(path.relative_to(folder)): _digest(path) for path in _arrays(folder)}
                (folder / MANIFEST).write_text(json.dumps(names, indent=0))

    def _damage(self, step: int) -> str | None:
        """What is wrong with the files of a checkpoint; None where they are as written."""
        folder = self.folder / str(step)
        try:
            digests = json.loads((folder / MANIFEST).read_text())
        except (OSError, ValueError) as error:
            return f"{MANIFEST} cannot be read: {error}"
        for name, digest in digests.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if _digest(path) != digest:
                return f"{name} has changed since it was written"
        return None


def _shapes_by_name(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in trees.by_name(tree).items()}


def _best_metric(metrics: dict[str, float]) -> float:
    return metrics[BEST_METRIC]


def _arrays(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files below the folder of an item; those beside it change after the seal."""
    return sorted(
        path
        for item in folder.iterdir()
        if item.is_dir()
        for path in item.rglob("*")
        if path.is_file()
    )


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:32]

"""Saving and restoring a run: asynchronous, atomic, and never trusting a damaged file."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from data_pipeline.errors import InputError, shorten
from data_pipeline.read import atomic, listing
from luperson_jax import trees
from luperson_jax.structs import Tree
from luperson_jax.workdir import saved_steps

MANIFEST = "digests.json"
UNFINISHED = ".orbax-checkpoint-tmp"
"""In the name of the folder of a save under way."""
NOT_FETCHED = "Task exception was never retrieved"
"""What asyncio says of the writes of a save that fail beside the one that is raised."""
OS_ERROR = re.compile(r"os_error_code='(\d+)'")
"""How TensorStore tells what the system refused, after paths of its own and source lines."""
ITEM = "default"
"""Folder of the tensors within a checkpoint; orbax keeps its own notes beside it."""
FIGURES_FILE = "figures.json"


class Checkpoints:
    """The checkpoints of one workdir: the newest `keep` and the best one.

    A save runs in the background; once its files and their digests are written it becomes visible
    by a rename. A process killed at any moment leaves either the former checkpoints or one more.
    Figures of an evaluation are added to a checkpoint that exists: what was trained is safe before
    anything that can fail is tried on it.

    Args:
        workdir: of the run.
        keep: how many of the newest.
        best: name of the figure that the best one has the highest of; empty: none is the best.
        read_only: neither saves nor sets damaged checkpoints aside.
        say: takes lines about damaged files.
    """

    def __init__(
        self,
        workdir: str | pathlib.Path,
        *,
        keep: int = 2,
        best: str = "",
        read_only: bool = False,
        say: Callable[[str], None] = logging.warning,
    ):
        self.folder = pathlib.Path(workdir).absolute() / saved_steps.FOLDER
        if read_only and not listing.is_folder(self.folder):
            raise InputError(
                f"{workdir} holds no checkpoints: expected the folder {self.folder}; "
                "give the workdir of a run that has saved at least once"
            )
        self._keep, self._best = keep, best
        self._read_only, self._say = read_only, say
        if not read_only and sys.unraisablehook is sys.__unraisablehook__:
            sys.unraisablehook = _said_once
            logging.getLogger("asyncio").addFilter(
                lambda record: NOT_FETCHED not in str(record.msg)
            )
        # Its annotations want paths of another library, and it takes these.
        self._handler: Any = ocp.StandardCheckpointHandler()
        self._whole: set[int] = set()
        self._open()
        self._figures = {step: self._read_figures(step) for step in self.steps()}

    def _open(self) -> None:
        """(Re)reads which checkpoints there are, by the names of their folders alone: a damaged
        file of one of them must not stand in the way of the others."""
        handler = ocp.StandardCheckpointHandler()
        with _without_notes():
            self._manager = ocp.CheckpointManager(
                self.folder, options=self._options(), item_handlers=handler
            )

    def _options(self) -> ocp.CheckpointManagerOptions:
        return ocp.CheckpointManagerOptions(
            preservation_policy=_Kept(self._kept),
            cleanup_tmp_directories=not self._read_only,
            lightweight_initialize=True,
            read_only=self._read_only,
            async_options=ocp.options.AsyncOptions(post_finalization_callback=self._seal),
        )

    def save(self, step: int, state: Tree) -> None:
        """Starts to save `state`; returns when the arrays are copied and may be donated.

        Raises:
            InputError: this save, or the one before, cannot be written.
        """
        with self._writing():
            self._manager.save(step, args=ocp.args.StandardSave(state))
        self._figures[step] = {}

    def add_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Notes what was measured of a saved state; waits for the save under way."""
        figures = {**self.figures(step), **figures}
        with self._writing():
            self._manager.wait_until_finished()
        if jax.process_index() == 0:
            with atomic.replacing(self.folder / str(step) / FIGURES_FILE) as part:
                part.write_text(json.dumps(figures) + "\n")
        self._figures[step] = figures

    def figures(self, step: int) -> dict[str, float]:
        """What was noted of a checkpoint, by name; empty where it is missing or not measured."""
        return self._figures.get(step, {})

    def steps(self) -> list[int]:
        """Steps saved, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The saved step with the highest figure; None where none has it."""
        return self._best_of(self.steps())

    def best(self) -> tuple[int, dict[str, float]] | None:
        """The step with the highest figure and all of its figures; None where none has it."""
        step = self.best_step()
        return None if step is None else (step, dict(self.figures(step)))

    def _best_of(self, steps: Iterable[int]) -> int | None:
        """Of equally good ones the last."""
        measured = [
            (figures[self._best], step)
            for step in steps
            if self._best in (figures := self.figures(step))
        ]
        return max(measured)[1] if measured else None

    def _kept(self, steps: Sequence[int]) -> set[int]:
        return {*sorted(steps)[-self._keep :], self._best_of(steps)} - {None}

    def _read_figures(self, step: int) -> dict[str, float]:
        path = self.folder / str(step) / FIGURES_FILE
        try:
            values = json.loads(path.read_bytes())
            return {str(name): float(value) for name, value in values.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self._say(f"{path} cannot be read ({error!r}): step {step} counts as not evaluated")
            return {}

    def restore(
        self,
        target: Tree,
        step: int | None = None,
        *,
        problem_of: Callable[[Tree], str | None] = lambda _: None,
    ) -> tuple[int, Tree] | None:
        """The newest undamaged checkpoint (or the one of `step`), placed as `target` is.

        Args:
            target: tree of arrays or `jax.ShapeDtypeStruct` with shardings.
            step: a certain one instead of the newest.
            problem_of: says what is wrong with the tensors read; such a checkpoint is passed over.

        Returns:
            (step, tree), or None where nothing was saved.

        Raises:
            InputError: checkpoints exist, but none is whole, or they hold other tensors.
        """
        wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        candidates = self.steps()[::-1] if step is None else [step]
        problems = []
        for candidate in candidates:
            problem = self._damage(candidate)
            if problem is None:
                self._check_fits(candidate, wanted)
                try:
                    tree = self._handler.restore(
                        self.folder / str(candidate) / ITEM, args=ocp.args.StandardRestore(wanted)
                    )
                    problem = problem_of(tree)
                    if problem is None:
                        return candidate, tree
                except (ValueError, OSError, KeyError) as error:
                    problem = str(error).splitlines()[0]
            self._say(f"checkpoint {candidate} in {self.folder} is damaged: {problem}")
            problems.append(f"{candidate}: {problem}")
            self._set_aside(candidate)
        if candidates:
            raise self._all_damaged(problems)
        return None

    def read(self, step: int | None = None) -> tuple[int, Tree]:
        """All tensors of a checkpoint as numpy arrays, without knowing its structure beforehand.

        On the host, because a run that takes them over may lie on other devices.

        Raises:
            InputError: there is no checkpoint, or none that is whole.
        """
        if not self.steps():
            raise InputError(
                f"no finished checkpoint in {self.folder}: the run has saved nothing yet; wait "
                f"for it, or go on with it by `luperson train --workdir {self.folder.parent}`"
            )
        device = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
        steps = self.steps()[::-1] if step is None else [step]
        problems = {one: self._damage(one) for one in steps}
        whole = [one for one in steps if problems[one] is None]
        if not whole:
            raise self._all_damaged([f"{one}: {problems[one]}" for one in steps])
        shapes = self._shapes(whole[0])
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes
        )
        found = self.restore(target, step)
        assert found is not None
        return found[0], jax.tree.map(np.asarray, found[1])

    def close(self) -> None:
        """Waits for the save under way; InputError where it cannot be written."""
        with self._writing():
            try:
                self._manager.wait_until_finished()
            finally:
                self._manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            # TensorStore has no other sign of what the system has refused.
            refused = OS_ERROR.search(str(error))
            if not isinstance(error, OSError) and refused is None:
                raise
            reason = os.strerror(int(refused[1])) if refused else str(error).splitlines()[0]
            saved = saved_steps.of(self.folder.parent)
            left = f"step {saved[-1]} is the last whole one" if saved else "there is none yet"
            raise InputError(
                f"cannot write a checkpoint to {self.folder}: {reason}; "
                f"{left}. Make room and give the same command again"
            ) from error

    def _all_damaged(self, problems: Sequence[str]) -> InputError:
        return InputError(
            f"no whole checkpoint in {self.folder}, all are damaged:\n  "
            + "\n  ".join(shorten(problems))
            + "\nuse another --workdir to start anew, or put a copy back"
        )

    def _shapes(self, step: int) -> Tree:
        """The tensors of a whole checkpoint, without reading them."""
        metadata = self._handler.metadata(self.folder / str(step) / ITEM)
        return metadata.tree

    def _check_fits(self, step: int, target: Tree) -> None:
        """Raises InputError where the checkpoint holds other tensors."""
        saved, wanted = (_shapes_by_name(tree) for tree in (self._shapes(step), target))
        if saved == wanted:
            return
        lines = [f"missing {name} {wanted[name]}" for name in sorted(wanted.keys() - saved.keys())]
        lines += [f"unknown {name} {saved[name]}" for name in sorted(saved.keys() - wanted.keys())]
        lines += [
            f"{name} is {saved[name]}, expected {wanted[name]}"
            for name in sorted(saved.keys() & wanted.keys())
            if saved[name] != wanted[name]
        ]
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
        self._manager.close()
        self._open()

    def _seal(self) -> None:
        """Writes the digests of a save that is complete and not yet renamed."""
        if jax.process_index() == 0:
            begun = [name for name in listing.names(self.folder) if UNFINISHED in name]
            for folder in map(self.folder.joinpath, begun):
                names = {str(path.relative_to(folder)): _digest(path) for path in _arrays(folder)}
                (folder / MANIFEST).write_text(json.dumps(names, indent=0))

    def _damage(self, step: int) -> str | None:
        """What is wrong with the tensors' files; None where they are as written."""
        if step in self._whole:
            return None
        folder = self.folder / str(step)
        try:
            digests = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError) as error:
            return f"{MANIFEST} cannot be read: {error}"
        names = list(digests) if isinstance(digests, dict) else []
        names = [name for name in names if pathlib.PurePath(name).parts[:1] == (ITEM,)]
        if not names:
            return f"{MANIFEST} lists no files"
        for name in names:
            try:
                found = _digest(folder / name)
            except (OSError, ValueError) as error:
                return f"{name} cannot be read: {error}"
            if found != digests[name]:
                return f"{name} has changed since it was written"
        self._whole.add(step)
        return None


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The form in which orbax asks which checkpoints stay."""

    choose: Callable[[Sequence[int]], set[int]]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer a checkpoint."""
        del context
        steps = [one.step for one in checkpoints]
        kept = self.choose(steps)
        return [step in kept for step in steps]


@contextlib.contextmanager
def opened(
    workdir: str | pathlib.Path, keep: int, best: str, say: Callable[[str], None]
) -> Iterator[Checkpoints]:
    """The checkpoints of a run; waits in the end for the save under way."""
    checkpoints = Checkpoints(workdir, keep=keep, best=best, say=say)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Keeps orbax from warning that what is to be read only is read only."""

    def is_news(record: logging.LogRecord) -> bool:
        return "read_only" not in str(record.msg) and "read only" not in str(record.msg)

    library = logging.getLogger("absl")
    library.addFilter(is_news)
    try:
        yield
    finally:
        library.removeFilter(is_news)


def _shapes_by_name(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in trees.by_name(tree).items()}


def _said_once(what: Any) -> None:
    """The hook of errors that nobody can be told, without those that follow one that was raised.

    The first write of TensorStore that fails ends a save. The others, which fail with it, then find
    the loop closed that waits for them.
    """
    if what.exc_type is not RuntimeError or str(what.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(what)


def _arrays(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files below the folder of an item; those beside it change after the seal."""
    return [
        pathlib.Path(inner, name)
        for item in listing.subfolders(folder)
        for inner, names in listing.walk(folder / item)
        for name in names
    ]


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:32]

"""What a run tells while it runs: JSON lines, TensorBoard, the console, and the stop on NaN."""

import collections
import contextlib
import json
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import rich.progress

from data_pipeline import terminal
from data_pipeline.errors import InputError, shorten
from data_pipeline.read import atomic
from luperson_jax.workdir import metrics_file
from luperson_jax.workdir.event_file import EventFile
from luperson_jax.workdir.metrics_file import METRICS_FILE


class NonFiniteLoss(RuntimeError):
    """The loss, or the state that a step has left, is NaN or infinite."""


class Reporter:
    """Takes the metrics of every step and passes them on. Only process 0 speaks.

    Metrics of a step are fetched from the device when the next step is already under way, so that
    the device never waits for the host.
    """

    def __init__(self, workdir: str | pathlib.Path, total_steps: int, log_every: int):
        self.console = terminal.console(quiet=jax.process_index() > 0)
        self._total, self._every = total_steps, log_every
        self._pending: tuple[int, int, Any, Callable[[], Sequence[str]]] | None = None
        self._clock = _Clock()
        self._progress: rich.progress.Progress | None = None
        self._bar: rich.progress.TaskID | None = None
        self._speaks = jax.process_index() == 0
        self._is_full = False
        if self._speaks:
            folder = pathlib.Path(workdir)
            try:
                self._path = folder / METRICS_FILE
                self._lines = self._path.open("a", buffering=1)
                self._board = EventFile(folder / "tensorboard")
            except OSError as error:
                raise InputError(f"cannot write to the workdir {str(folder)!r}: {error}") from error

    def start(self, step: int) -> None:
        """Begins at `step` finished steps: measures speed and draws the bar on a terminal.

        Lines of later steps, which an interrupted run has left, are dropped: they come again. So
        are those that cannot be read: one may be half of a line, and would spoil the next.
        """
        self._clock.restart()
        if self._speaks:
            lines, num_bad = metrics_file.read(self._path)
            kept = [line.text for line in lines if line.step <= step]
            if num_bad:
                self.say(f"{num_bad} lines of {METRICS_FILE} cannot be read and are left out")
            if num_bad or len(kept) < len(lines):
                self._lines.close()
                with atomic.replacing(self._path) as part:
                    part.write_bytes(b"".join(line + b"\n" for line in kept))
                self._lines = self._path.open("a", buffering=1)
        if self._speaks and self.console.is_terminal:
            columns = rich.progress.Progress.get_default_columns()
            speed = rich.progress.TextColumn("{task.fields[note]}")
            self._progress = rich.progress.Progress(*columns, speed, console=self.console)
            self._bar = self._progress.add_task(
                "training", total=self._total, completed=step, note=""
            )
            self._progress.start()

    def step(
        self,
        step: int,
        num_images: int,
        metrics: Mapping[str, Any],
        pictures: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Hands in the metrics of the step just started; reports those of the one before.

        Args:
            step: number of steps finished when this one is.
            num_images: images of this step, over all devices.
            metrics: scalars still on the device.
            pictures: gives the names of those that this process read for the step.

        Raises:
            NonFiniteLoss: the former step's loss is not finite.
        """
        former, self._pending = self._pending, (step, num_images, metrics, pictures)
        if former is not None:
            self._report(*former)

    def flush(self) -> None:
        """Reports the last step handed in."""
        former, self._pending = self._pending, None
        if former is not None:
            self._report(*former)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends named values (`market1501/mAP`, ...) to the JSON lines and to TensorBoard.

        Where the disk is full this is said once, and the run goes on: its checkpoints matter more.
        """
        if not self._speaks:
            return
        try:
            self._lines.write(json.dumps({"step": step, **values}) + "\n")
            for name, value in values.items():
                self._board.add(name, value, step)
        except OSError as error:
            if not self._is_full:
                self.say(f"cannot write {self._path}: {error.strerror or error}; figures are lost")
            self._is_full = True

    def pause(self) -> None:
        """Time until the next step does not count as training (evaluation, saving)."""
        self._clock.restart()

    def say(self, message: Any) -> None:
        """A line or a table for the reader, above the bar."""
        self.console.print(terminal.visible(message) if isinstance(message, str) else message)

    def close(self) -> None:
        """Ends the bar and the files."""
        if self._progress is not None:
            self._progress.stop()
        if self._speaks:
            # What could not be written stands in their buffers still; it has been said.
            with contextlib.suppress(OSError) if self._is_full else contextlib.nullcontext():
                self._lines.close()
            with contextlib.suppress(OSError) if self._is_full else contextlib.nullcontext():
                self._board.close()

    def _report(
        self, step: int, num_images: int, metrics: Any, pictures: Callable[[], Sequence[str]]
    ) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not math.isfinite(values["loss"]):
            listed = ", ".join(f"{name}={value:.6g}" for name, value in values.items())
            names = "".join(f"\n  {name}" for name in shorten(pictures()))
            raise NonFiniteLoss(
                f"the loss of step {step} is not finite ({listed}); look at the pictures of that "
                f"step{names and ':'}{names}"
            )
        self._clock.tick(num_images)
        if self._progress is not None and self._bar is not None:
            note = f"{self._clock.rate:.0f} images/s, loss {values['loss']:.3f}"
            self._progress.update(self._bar, completed=step, note=note)
        if step % self._every == 0 or step == self._total:
            named = {f"train/{name}": value for name, value in values.items()}
            self.write(step, {**named, "train/images_per_second": self._clock.rate})
            if self._progress is None:
                self._line(step, values)

    def _line(self, step: int, values: Mapping[str, float]) -> None:
        remaining = (self._total - step) * self._clock.seconds_per_step
        listed = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.say(
            f"step {step}/{self._total}  {listed}  "
            f"{self._clock.rate:.1f} images/s  ETA {_duration(remaining)}"
        )


class _Clock:
    """Speed over the last steps."""

    def __init__(self) -> None:
        self._marks: collections.deque[tuple[float, int]] = collections.deque(maxlen=50)

    def restart(self) -> None:
        self._marks.clear()

    def tick(self, num_images: int) -> None:
        self._marks.append((time.perf_counter(), num_images))

    @property
    def seconds_per_step(self) -> float:
        if len(self._marks) < 2:
            return 0.0
        return (self._marks[-1][0] - self._marks[0][0]) / (len(self._marks) - 1)

    @property
    def rate(self) -> float:
        if len(self._marks) < 2:
            return 0.0
        images = sum(count for _, count in list(self._marks)[1:])
        return images / max(self._marks[-1][0] - self._marks[0][0], 1e-9)


def _duration(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}"

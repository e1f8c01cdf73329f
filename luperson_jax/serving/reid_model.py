"""Five lines of Python: load a network, embed pictures, compare two.

import luperson_jax as lp

model = lp.load("runs/bot")  # or a file of weights
features = model.embed(["a.jpg", "b.jpg"])
model.compare("a.jpg", "b.jpg").distance
"""

import dataclasses
import os
import warnings
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import decode, listing
from luperson_jax import trees
from luperson_jax.measure import streaming
from luperson_jax.serving import decision, hub, open_networks, user_pictures
from luperson_jax.serving.decision import DecisionRule
from luperson_jax.serving.user_pictures import Picture
from luperson_jax.weights import packed

NUM_READERS = 4
"""Threads that read and resize."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two pictures, or a list of each.

    Attributes:
        distance: 1 - cosine of their features, 0..2: [] or [N] float32.
        same: whether it is at most the threshold; None where no threshold is known.
        unsure: whether it lies between the threshold and the distance from which pairs show
            different people; None likewise.
    """

    distance: np.ndarray
    same: np.ndarray | None
    unsure: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class ReidModel:
    """A network with its pre-processing: input size, filter and pixel statistics are those that it
    was trained with.

    Attributes:
        network: what was read.
        rule: when two pictures show one person, as `luperson calibrate` finds it; None where it is
            not known.
    """

    network: open_networks.EmbeddingNetwork
    rule: DecisionRule | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that pictures are brought to."""
        return self.network.recipe.data.size

    @property
    def resize(self) -> str:
        """The filter that brings them there, a key of `decode.FILTERS`."""
        return decode.filter_of_evaluation(self.network.recipe.data.resize)

    @property
    def threshold(self) -> float | None:
        """Largest cosine distance of pictures of one person, before any two cameras."""
        return None if self.rule is None else self.rule.band[0]

    def __str__(self) -> str:
        return f"{self.network.origin}, input {self.size[0]}x{self.size[1]}"

    def embed(self, given: Picture | Sequence[Picture]) -> np.ndarray:
        """Features of pictures, compared by their angle.

        Args:
            given: a picture or several: paths, arrays [H, W, 3] or [N, H, W, 3] of uint8 in RGB,
                pictures of Pillow.

        Returns:
            [D] float32 of one, [N, D] of several; of unit length. A picture's does not depend on
            those beside it but for rounding. `batch_size` go through the network at once, and of
            fewer a quarter, a sixteenth and so on, with a program for each such size.

        Raises:
            InputError: a file that cannot be read, or something that is no RGB picture.
        """
        listed, single = user_pictures.as_list(given)
        batch = self.network.recipe.eval.batch_size
        found = []
        with futures.ThreadPoolExecutor(NUM_READERS) as readers:
            for start in range(0, len(listed), batch):
                part = listed[start : start + batch]
                loaded = list(readers.map(user_pictures.pixels, part))
                if not start:
                    arrays = [
                        one for one, raw in zip(loaded, part, strict=True) if raw is one
                    ]  # files and Pillow tell their order of colors
                    user_pictures.warn_of_bgr(arrays)
                canvases = list(readers.map(self._canvas, loaded))
                sizes = np.array([one.shape[:2] for one in loaded], np.int32)
                found.append(self._features(np.stack(canvases), sizes))
        features = np.concatenate(found)
        length = np.linalg.norm(features, axis=1, keepdims=True)
        features = features / np.maximum(length, 1e-12)
        return features[0] if single else features

    def compare(
        self,
        one: Picture | Sequence[Picture],
        other: Picture | Sequence[Picture],
        *,
        cameras: Any = None,
    ) -> Comparison:
        """How far two pictures are from each other, or each of a list from its partner.

        Warns (`UnlikeCalibration`) of pictures that look unlike those of the calibration.

        Args:
            one, other: as `embed` takes them.
            cameras: the two cameras, or [N, 2], where thresholds of cameras are known: numbers as
                the data set of the calibration counts, or names as paths have them.

        Raises:
            InputError: as `embed`, lists of different length, or cameras of another shape.
        """
        first, second = self.embed(one), self.embed(other)
        if first.shape != second.shape:
            raise InputError(
                f"{np.atleast_2d(first).shape[0]} pictures cannot be paired with "
                f"{np.atleast_2d(second).shape[0]}; expected as many on both sides"
            )
        distance = np.asarray(1 - np.sum(first * second, axis=-1), np.float32)
        if self.rule is None:
            return Comparison(distance, None, None)
        listed = [*user_pictures.as_list(one)[0], *user_pictures.as_list(other)[0]]
        self.warn_of_strangers(np.concatenate(np.atleast_2d(first, second)), listed)
        return Comparison(distance, *self.rule.same(distance, cameras))

    def warn_of_strangers(self, features: np.ndarray, pictures: Sequence[Picture]) -> None:
        """Warns where N pictures with these features, [D] or [N, D], look unlike those of the
        calibration.

        Raises:
            InputError: the calibration was made with another network.
        """
        for words in (
            [] if self.rule is None else self.rule.warnings(np.atleast_2d(features), pictures)
        ):
            warnings.warn(words, decision.UnlikeCalibration, stacklevel=3)

    def _canvas(self, array: np.ndarray) -> np.ndarray:
        return decode.to_canvas(array, self.size, self.resize)

    def _features(self, canvases: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        network = self.network
        return streaming.embed_canvases(
            network.embedder, network.state, canvases, sizes, network.recipe, network.mesh
        )


def load(
    source: str | os.PathLike,
    *,
    size: tuple[int, int] | None = None,
    statistics: str | None = None,
    pooling: str | None = None,
    checkpoint: str | None = None,
    average: bool | None = None,
    flip: bool = False,
    batch_size: int = 64,
    threshold: float | str | os.PathLike | None = None,
    false_accepts: float | None = None,
) -> ReidModel:
    """Opens a run or a file of weights.

    Args:
        source: workdir of a run; a file: .npz of `luperson convert`, .safetensors, or PyTorch's; a
            folder of `luperson pack-model`, or OWNER/NAME of one at Hugging Face.
        size: height and width of the input, of a file; None = as it or its family has it.
        statistics: name of mean and deviation of the pixels, of a file, see `--statistics` of
            `luperson embed`; None = as it or its family has them.
        pooling: of a file that does not tell it.
        checkpoint: "last" or "best", of a run.
        average: the average of the weights, of a run; None = as its recipe has it.
        flip: features are the mean of those of a picture and of its mirror image.
        batch_size: pictures at once.
        threshold: a cosine distance, or a file that `luperson calibrate --json` wrote; None = that
            of a packed folder.
        false_accepts: which threshold of a packed folder, by its wanted share; None = the first.

    Raises:
        InputError: no such run, file or threshold, or an option of the other kind of source.
    """
    place = hub.local(source)
    changes: dict[str, Any] = {"flip": flip, "batch_size": batch_size}
    of_file = {"size": size, "statistics": statistics, "pooling": pooling}
    of_run = {"checkpoint": checkpoint, "average": average}
    is_packed = packed.is_packed(place)
    is_run = listing.is_folder(place) and not is_packed
    foreign = of_file if is_run else of_run
    wrong = next((name for name, value in foreign.items() if value is not None), None)
    if wrong:
        kinds = ("a run", "a file of weights") if is_run else ("a file of weights", "a run")
        raise InputError(f"{place} is {kinds[0]}, and {wrong} is for {kinds[1]}; leave it out")
    if not is_run:
        words = None if size is None else f"{size[0]}x{size[1]}"
        network = open_networks.open_weights(place, changes, **{**of_file, "size": words})
        return ReidModel(network, _rule(place if is_packed else None, threshold, false_accepts))
    if checkpoint is not None:
        changes["checkpoint"] = checkpoint
    if average is not None:
        changes["weights"] = "average" if average else "online"
    rule = _rule(None, threshold, false_accepts)
    return ReidModel(open_networks.open_workdir(place, changes), rule)


def digest(model: ReidModel) -> str:
    """A name for the weights of a model."""
    state = model.network.state
    weights = {"params": state.params, "stats": state.extra.get("stats", {})}
    named = trees.by_name(weights)
    return trees.fingerprint({name: np.asarray(leaf) for name, leaf in named.items()})


def _rule(
    folder: str | os.PathLike | None,
    threshold: float | str | os.PathLike | None,
    false_accepts: float | None,
) -> DecisionRule | None:
    """The rule that is asked for, or that of a packed folder."""
    if false_accepts is not None and (folder is None or threshold is not None):
        raise InputError(
            "false_accepts chooses among the thresholds of a packed model; here give a file of "
            "`luperson calibrate` as the threshold"
        )
    return decision.given(threshold, folder, false_accepts)

"""An index: features of pictures with what is known of them, searched exactly."""

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data_pipeline.datasets import image_folder
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from luperson_jax.lengths import unit_rows
from luperson_jax.retrieval import neighbors
from luperson_jax.retrieval.nearest_lists import Neighbors
from luperson_jax.serving import decision, index_files, user_pictures
from luperson_jax.serving.camera_names import UNKNOWN, CameraNames
from luperson_jax.serving.decision import Camera, DecisionRule
from luperson_jax.serving.index_columns import IndexColumns
from luperson_jax.serving.reid_model import ReidModel, digest
from luperson_jax.serving.user_pictures import Picture

NEVER = np.datetime64("NaT", "us")
FEW_QUERIES = 16
PIECE = 8192
"""Rows of features that are read at once."""

Moment = datetime.datetime | np.datetime64 | str


@dataclasses.dataclass(frozen=True)
class Index:
    """Pictures to search in. It never changes: `add` and `remove` give another index, which shares
    the features with this one.

    Attributes:
        parts: features [., D] of unit length, one after the other; perhaps memory-mapped.
        rows: [N] which rows of the parts are in the index.
        columns: of these N.
        model: embeds queries that are pictures; None where features alone are searched.
        made_by: digest of the weights of that model.
        made_with: what they were read from then; "" where it is not known.
        cameras: what the numbers of the column `camera` stand for.
    """

    parts: tuple[np.ndarray, ...]
    rows: np.ndarray
    columns: IndexColumns
    model: ReidModel | None
    made_by: str
    made_with: str = ""
    cameras: CameraNames = dataclasses.field(default_factory=CameraNames)

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def build(
        cls,
        model: ReidModel,
        pictures: str | os.PathLike | Sequence[Picture],
        *,
        camera: Sequence[Camera | None] | np.ndarray | None = None,
        time: Sequence[Moment] | np.ndarray | None = None,
    ) -> "Index":
        """Embeds pictures.

        Args:
            model: of `load`.
            pictures: a folder, all pictures of which are taken at any depth, or a list.
            camera: [N] number of each one's camera, as a data set counts, or text, its name as the
                paths have it: thresholds of two cameras are for one kind or the other.
            time: [N] when each was taken.

        Raises:
            InputError: no picture, one that cannot be read, columns of another length, or cameras
                by number and by name.
        """
        empty = IndexColumns(
            np.zeros(0, np.int64),
            np.zeros(0, np.str_),
            np.zeros(0, np.int64),
            np.zeros(0, "datetime64[us]"),
        )
        origin = model.network.origin
        start = cls((), np.zeros(0, np.int64), empty, model, digest(model), origin)
        return start.add(pictures, camera=camera, time=time)

    def add(
        self,
        pictures: str | os.PathLike | Sequence[Picture],
        *,
        camera: Sequence[Camera | None] | np.ndarray | None = None,
        time: Sequence[Moment] | np.ndarray | None = None,
    ) -> "Index":
        """The index with more pictures; as `build`.

        Raises:
            InputError: as `build`, or no model.
        """
        listed = _listed(pictures)
        features = np.atleast_2d(self._model().embed(listed))
        first = int(self.columns.id.max(initial=-1)) + 1
        names = [os.fspath(one) if isinstance(one, str | os.PathLike) else "" for one in listed]
        given = [UNKNOWN] * len(listed) if camera is None else list(camera)
        cameras, named = self.cameras.numbered(given, self.columns.camera)
        moments = [NEVER] * len(listed) if time is None else list(time)
        new = IndexColumns(
            np.arange(first, first + len(listed)),
            np.array(names, np.str_),
            _column(cameras, "int64", "camera"),
            _column(moments, "datetime64[us]", "time"),
        )
        for name, column in zip(IndexColumns._fields, new, strict=True):
            if len(column) != len(listed):
                raise InputError(
                    f"{name} has {len(column)} entries for {len(listed)} pictures; expected one "
                    "for each"
                )
        before = sum(map(len, self.parts))
        return dataclasses.replace(
            self,
            parts=(*self.parts, features),
            rows=np.concatenate([self.rows, before + np.arange(len(listed))]),
            cameras=named,
            columns=IndexColumns(
                *(np.concatenate(pair) for pair in zip(self.columns, new, strict=True))
            ),
        )

    def remove(self, ids: Sequence[int]) -> "Index":
        """The index without some pictures.

        Raises:
            InputError: a number that is not in the index.
        """
        self.check_ids(ids)
        kept = np.flatnonzero(~np.isin(self.columns.id, ids))
        return dataclasses.replace(self, rows=self.rows[kept], columns=self.columns.take(kept))

    def check_ids(self, ids: Sequence[int]) -> None:
        """Raises InputError where a number is not in the index."""
        unknown = np.setdiff1d(np.asarray(ids, np.int64), self.columns.id)
        if len(unknown):
            raise InputError(f"no picture of the index has the number {unknown[0]}")

    def search(
        self,
        query: Any,
        k: int = 10,
        *,
        camera: Camera | Sequence[Camera] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        query_camera: Camera | None = None,
    ) -> Any:
        """The nearest pictures, exactly.

        Args:
            query: a picture or several, as `ReidModel.embed` takes them; or features [D] or
                [Q, D] of a floating-point type.
            k: how many; fewer where there are not so many.
            camera: only pictures of these cameras, by number or by name.
            since, until: only pictures of known time from and up to these moments.
            query_camera: of the queries, for thresholds of two cameras.

        Returns:
            A list of `Match`, nearest first and among equals the older picture; of several
            queries a list of such lists.

        Raises:
            InputError: as `ReidModel.embed`; pictures without a model; features of another length;
                no such camera; as `answers`.
        """
        features, single = self._features_of(query)
        chosen = self.chosen(camera, since, until)
        if not len(chosen):
            found = [[] for _ in features]
            return found[0] if single else found
        near = self.nearest(features, chosen, k)
        rule = self.model.rule if self.model else None
        found = [
            self.columns.take(rows).matches(
                distance, self.answers(rule, distance, rows, query_camera)
            )
            for rows, distance in zip(near.rows, near.distance, strict=True)
        ]
        return found[0] if single else found

    def nearest(self, query: np.ndarray, places: np.ndarray, k: int) -> Neighbors:
        """The nearest of the pictures at some places, by features [Q, D]; rows are places.

        Raises:
            InputError: k < 1.
        """
        if k < 1:
            raise InputError(f"{k} nearest pictures were asked for; expected at least 1")
        if len(query) <= FEW_QUERIES:
            near = self._nearest_of_few(query, places, k)
        else:
            near = neighbors.nearest(query, self._pieces(places), min(k, len(places)))
        return near._replace(rows=places[near.rows])

    def answers(
        self,
        rule: DecisionRule | None,
        distance: np.ndarray,
        places: np.ndarray,
        query_camera: Camera | None = None,
    ) -> list[bool | None]:
        """Whether pictures [N] at some places show the person of a query, see `decision.answers`.

        Raises:
            InputError: cameras are known, and the thresholds of two are for the other kind, numbers
                or names.
        """
        cameras = self.columns.camera[places]
        if rule is not None and query_camera is not None:
            query_camera, cameras = self.cameras.as_calibrated(query_camera, cameras)
        return decision.answers(rule, distance, query_camera, cameras)

    def check_rule(self, rule: DecisionRule | None) -> None:
        """Raises InputError where `answers` might: cameras are known, and the rule's are not of
        their kind."""
        if rule is not None and np.any(self.columns.camera != UNKNOWN):
            rule.check_cameras(named=self.cameras.named is not None)

    @staticmethod
    def locked(
        folder: str | os.PathLike, *, existing: bool = False
    ) -> contextlib.AbstractContextManager[str | None]:
        """Within, no other process can change the index; see `index_files.locked`."""
        return index_files.locked(folder, existing=existing)

    def save(self, folder: str | os.PathLike, *, locked: bool = False) -> None:
        """Writes the index, or puts it in the place of one that is there.

        Args:
            folder: made where it is missing.
            locked: whether the caller holds `Index.locked(folder)`, as one does that has opened
                the index, changed it and saves it: else what another has added meanwhile is lost.

        Raises:
            InputError: it cannot be written, another process is changing it, or the folder holds
                something else.
        """
        with contextlib.nullcontext() if locked else index_files.locked(folder):
            self._write(folder)

    def _write(self, folder: str | os.PathLike) -> None:
        about = {
            "dimensions": self.dimensions,
            "made_by": self.made_by,
            "made_with": self.made_with,
            "cameras": self.cameras.values(),
        }
        index_files.write(folder, self._pieces(np.arange(len(self))), self.columns, about)

    @classmethod
    def open(cls, folder: str | os.PathLike, model: ReidModel | None = None) -> "Index":
        """Reads an index; its features stay on disk until they are used.

        Args:
            folder: of `save`.
            model: the one that it was built with, where pictures are searched.

        Raises:
            InputError: no index, a damaged one, or one of another model.
        """
        stored = index_files.read(folder)
        rows = np.arange(len(stored.features))
        made = stored.made_by, stored.made_with
        found = cls((stored.features,), rows, stored.columns, None, *made, stored.cameras)
        return found if model is None else found.with_model(model, folder)

    def with_model(self, model: ReidModel, folder: str | os.PathLike) -> "Index":
        """The index with the model that embeds its queries; `folder` is its place, for messages.

        Raises:
            InputError: it was built with another one.
        """
        if digest(model) != self.made_by:
            raise InputError(
                f"the index {os.fspath(folder)} was built with other weights than those of "
                f"{model.network.origin}: distances between features of two networks mean nothing"
            )
        return dataclasses.replace(self, model=model)

    def features(self, places: np.ndarray | None = None) -> np.ndarray:
        """A copy of the features [n, D] float32 at some places in rising order, or of all."""
        wanted = np.arange(len(self)) if places is None else places
        return np.concatenate([*self._pieces(wanted)])

    @property
    def dimensions(self) -> int:
        """Numbers of a feature."""
        return self.parts[0].shape[1] if self.parts else 0

    def _model(self) -> ReidModel:
        if self.model is None:
            raise InputError(
                "the index was opened without a model, which pictures need: "
                "Index.open(folder, model)"
            )
        return self.model

    def _features_of(self, query: Any) -> tuple[np.ndarray, bool]:
        is_feature = isinstance(query, np.ndarray) and np.issubdtype(query.dtype, np.floating)
        is_feature = is_feature and query.ndim in (1, 2)
        features = query if is_feature else self._model().embed(query)
        if not is_feature:
            self._model().warn_of_strangers(features, user_pictures.as_list(query)[0])
        return np.atleast_2d(self.checked(features)).astype(np.float32), features.ndim == 1

    def checked(self, features: np.ndarray) -> np.ndarray:
        """Features [..., D] as they are; raises InputError where D is not that of the index."""
        if features.shape[-1] != self.dimensions:
            raise InputError(
                f"the query has {features.shape[-1]} numbers, and features of the index "
                f"{self.dimensions}"
            )
        return features

    def chosen(
        self,
        camera: Camera | Sequence[Camera] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> np.ndarray:
        """Places, 0..N-1, of the pictures that the filters of `search` leave."""
        kept = np.ones(len(self), bool)
        if camera is not None:
            given = [camera] if isinstance(camera, int | str) else camera
            kept &= np.isin(self.columns.camera, [self.cameras.number(one) for one in given])
        if since is not None:
            kept &= self.columns.time >= moment(since, "since")
        if until is not None:
            kept &= self.columns.time <= moment(until, "until")
        return np.flatnonzero(kept)

    def _nearest_of_few(self, query: np.ndarray, places: np.ndarray, k: int) -> Neighbors:
        """By products with every row: tiles would be mostly empty."""
        unit = unit_rows(query)
        distance = np.concatenate([1 - piece @ unit.T for piece in self._pieces(places)]).T
        num = min(k, len(places))
        last = np.partition(distance, num - 1, axis=1)[:, num - 1]
        rows = []
        for one, farthest in zip(distance, last, strict=True):
            near = np.flatnonzero(one <= farthest)
            rows.append(near[np.argsort(one[near], kind="stable")[:num]])
        found = np.array(rows)
        return Neighbors(found, np.take_along_axis(distance, found, axis=1))

    def _pieces(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """Features at some places, piece by piece."""
        starts = np.cumsum([0, *map(len, self.parts)])
        for first in range(0, len(places), PIECE):
            rows = self.rows[places[first : first + PIECE]]
            owner = np.searchsorted(starts, rows, side="right") - 1
            if owner[0] == owner[-1] and rows[-1] - rows[0] == len(rows) - 1:  # one run
                begin = rows[0] - starts[owner[0]]
                yield self.parts[owner[0]][begin : begin + len(rows)]
                continue
            piece = np.empty((len(rows), self.dimensions), np.float32)
            for number in np.unique(owner):
                mine = owner == number
                piece[mine] = self.parts[number][rows[mine] - starts[number]]
            yield piece


def moment(given: Moment, name: str) -> np.ndarray:
    """A moment as the columns have it.

    Raises:
        InputError: it is none.
    """
    return _column([given], "datetime64[us]", name)[0]


def _column(values: Sequence[Any], kind: str, name: str) -> np.ndarray:
    try:
        return np.array(values, kind)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{name} cannot be read as {kind} ({error})") from error


def _listed(pictures: str | os.PathLike | Sequence[Picture]) -> list[Picture]:
    if isinstance(pictures, str | os.PathLike) and listing.is_folder(pictures):
        return [*image_folder.paths(os.fspath(pictures))]
    return user_pictures.as_list(pictures)[0]

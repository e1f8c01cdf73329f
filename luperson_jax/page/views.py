"""What the pages show: lists, sheets and a plane, as plain values for the templates."""

import datetime
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.errors import InputError
from luperson_jax.clustering import grouping
from luperson_jax.measure import plots
from luperson_jax.page.gallery import Gallery, Item
from luperson_jax.page.labelling import NOBODY, Labelling
from luperson_jax.serving import decision
from luperson_jax.serving.camera_names import UNKNOWN
from luperson_jax.serving.decision import DecisionRule

TOPS = (12, 24, 48, 96)
PAGE = 48
"""Pictures of a page of the index or of a sheet."""
MAX_GROUPED = 20_000
"""Items that are grouped while somebody waits; `luperson cluster` groups more."""
MAX_POINTS = 1500
"""Items on the map: more only cover each other, and the time grows with them."""
NUM_COVERS, NUM_NEAR = 6, 6
VERDICTS = {True: "same", False: "different", None: "unsure"}
NUM_COLORS = 10
MAP = (1000, 640)
"""Width and height of the map, in its own units."""


class Filters(NamedTuple):
    """Which items are shown: cameras (none chosen: all) and moments, as a form gives them."""

    camera: tuple[int, ...] = ()
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, given: Sequence[tuple[str, str]]) -> "Filters":
        """Those of the parameters of an address.

        Raises:
            InputError: a camera that is no number, or a moment that is none.
        """
        values = dict(given)
        cameras = tuple(whole(value, "camera") for name, value in given if name == "camera")
        moments = [values.get(name, "") for name in ("since", "until")]
        for moment in filter(None, moments):
            try:
                datetime.datetime.fromisoformat(moment)
            except ValueError:
                raise InputError(
                    f"{moment[:40]!r} is no moment; expected one such as 2026-11-29T10:15"
                ) from None
        return cls(cameras, *moments)

    def places(self, gallery: Gallery) -> np.ndarray:
        """Items that are left."""
        return gallery.index.chosen(self.camera or None, **self.moments)

    @property
    def moments(self) -> dict[str, datetime.datetime | None]:
        """The first and the last moment, as an index takes them. A minute lasts to its end."""
        since, until = (
            datetime.datetime.fromisoformat(one).replace(tzinfo=None) if one else None
            for one in (self.since, self.until)
        )
        if until is not None and not until.second:
            until += datetime.timedelta(seconds=60, microseconds=-1)
        return {"since": since, "until": until}

    def pairs(self) -> list[tuple[str, str]]:
        """Parameters for an address."""
        moments = [("since", self.since), ("until", self.until)]
        cameras = [("camera", str(one)) for one in self.camera]
        return [*cameras, *((name, value) for name, value in moments if value)]

    def __bool__(self) -> bool:
        return bool(self.camera or self.since or self.until)


class Card(NamedTuple):
    """An item as it is shown.

    Attributes:
        item: what is known of it.
        identity: its number, -1 for none; None while the groups are being found.
        title: what the identity is called.
        distance: 1 - cosine from what it is compared with, 0..2.
        verdict: "same", "different" or "unsure"; empty where nobody knows.
    """

    item: Item
    identity: int | None = None
    title: str = ""
    distance: float | None = None
    verdict: str = ""


class Point(NamedTuple):
    """An item on the map: where, and the color of its group (None: gray)."""

    item: Item
    x: float
    y: float
    color: int | None
    words: str


def whole(given: str, name: str) -> int:
    """A number from an address or a form.

    Raises:
        InputError: it is none.
    """
    if not given.removeprefix("-").isdecimal() or len(given) > 18:
        raise InputError(f"{name} is {given[:40]!r}; expected a whole number")
    return int(given)


def card(
    gallery: Gallery,
    place: int,
    labelling: Labelling | None,
    distance: float | None = None,
    verdict: str = "",
) -> Card:
    """An item as it is shown."""
    item = gallery.describe(place)
    if labelling is None:
        return Card(item, None, "", distance, verdict)
    number = int(labelling.labels[place])
    return Card(item, number, labelling.title(number), distance, verdict)


def verdicts(
    gallery: Gallery,
    rule: DecisionRule | None,
    found: Sequence[tuple[int, float]],
    camera: int | None,
) -> list[str]:
    """What a rule says of found items.

    Args:
        gallery: what is shown.
        rule: None = nothing.
        found: places and distances.
        camera: of the query; None where it is not known.
    """
    if rule is None:
        return [""] * len(found)
    places = np.array([place for place, _ in found], np.int64)
    distance = np.array([far for _, far in found], np.float32)
    answers = gallery.index.answers(rule, distance, places, camera)
    return [VERDICTS[one] for one in answers]


def nearest(
    gallery: Gallery,
    feature: np.ndarray,
    filters: Filters,
    top: int,
    *,
    item: Item | None,
    elsewhere: bool,
) -> list[tuple[int, float]]:
    """The nearest items, nearest first: places and distances.

    Args:
        gallery: where.
        feature: [D] float32 of the query.
        filters: which items count.
        top: how many.
        item: the query, where it is one itself; it is not found.
        elsewhere: only items of other cameras than that of the query.
    """
    cameras = filters.camera
    if elsewhere and item is not None and item.camera is not None:
        known = cameras or np.unique(gallery.index.columns.camera).tolist()
        cameras = tuple(one for one in known if one != item.camera)
        if not cameras:
            return []
    since, until = filters.moments.values()
    found = gallery.index.search(feature, top + 1, camera=cameras or None, since=since, until=until)
    number = None if item is None else item.number
    return [(gallery.place(one.id), one.distance) for one in found if one.id != number][:top]


def start_labelling(gallery: Gallery) -> Labelling:
    """Groups of similar items, as `luperson cluster` finds them; of too many items none."""
    if not 2 < len(gallery) <= MAX_GROUPED:
        return Labelling(np.full(len(gallery), NOBODY, np.int64))
    k1 = min(15, max(len(gallery) // 8, 2))
    how = grouping.Grouping("communities", k1=k1, k2=min(4, k1), eps=0.8, min_samples=2)
    return Labelling(grouping.group(gallery.index.features(), how).labels)


class Group(NamedTuple):
    """An identity among others.

    Attributes:
        number: -1 for items of nobody.
        title: what it is called.
        covers: some of its items, the most typical first.
        size: number of items.
        cameras: names of those of its items, as far as they are known.
        since, until: the first and the last moment; None where none is known.
        distance: of its mean from another's; None where there is none.
        verdict: of the two means, as of a `Card`.
    """

    number: int
    title: str
    covers: list[Card]
    size: int
    cameras: list[str]
    since: datetime.datetime | None
    until: datetime.datetime | None
    distance: float | None = None
    verdict: str = ""


def group(
    gallery: Gallery, labelling: Labelling, number: int, num_covers: int = NUM_COVERS
) -> Group:
    """An identity with its most typical items."""
    order = members = labelling.members(number)
    if number != NOBODY:
        order = members[np.argsort(from_mean(gallery, members), kind="stable")]
    columns = gallery.index.columns
    cameras = np.unique(columns.camera[members])
    times = columns.time[members]
    times = times[~np.isnat(times)].astype("datetime64[us]")
    return Group(
        number,
        labelling.title(number),
        [card(gallery, int(place), labelling) for place in order[:num_covers]],
        len(members),
        [gallery.camera_name(one) for one in cameras.tolist() if one != UNKNOWN],
        times.min().item() if len(times) else None,
        times.max().item() if len(times) else None,
    )


def from_mean(gallery: Gallery, members: np.ndarray) -> np.ndarray:
    """Cosine distances [n] of items from their mean."""
    features = gallery.index.features(members)
    mean = features.mean(axis=0)
    return 1 - features @ (mean / max(float(np.linalg.norm(mean)), 1e-12))


def near_groups(
    gallery: Gallery, labelling: Labelling, number: int, rule: DecisionRule | None
) -> list[Group]:
    """Identities that may be the same one: those with the nearest means, nearest first."""
    numbers = labelling.numbers()
    others = [one for one in numbers if one != number]
    if not others or number not in numbers or len(gallery) > MAX_GROUPED:
        return []
    rows = labelling.next_number
    centers = grouping.centers(gallery.index.features(), labelling.labels, rows)
    distance = 1 - centers[others] @ centers[number]
    found = []
    nearest = np.argsort(distance, kind="stable")[:NUM_NEAR]
    cameras = np.full(len(nearest), UNKNOWN)
    for place, answer in zip(
        nearest, decision.answers(rule, distance[nearest], None, cameras), strict=True
    ):
        one = group(gallery, labelling, others[place], 3)
        verdict = "" if rule is None else VERDICTS[answer]
        found.append(one._replace(distance=float(distance[place]), verdict=verdict))
    return found


def sheet(
    gallery: Gallery, labelling: Labelling, number: int, page: int
) -> list[tuple[int | None, list[Card]]]:
    """A page of the items of an identity, by camera and then by time, with their distances from the
    mean."""
    members = labelling.members(number)
    columns = gallery.index.columns
    distance: dict[int, float] = {}
    if number != NOBODY:
        distance = dict(zip(members.tolist(), from_mean(gallery, members).tolist(), strict=True))
    order = members[np.lexsort((members, columns.time[members], columns.camera[members]))]
    sections: dict[int | None, list[Card]] = {}
    for place in order[page * PAGE : (page + 1) * PAGE].tolist():
        one = card(gallery, place, labelling, distance.get(place))
        sections.setdefault(one.item.camera, []).append(one)
    return list(sections.items())


def on_plane(gallery: Gallery) -> tuple[np.ndarray, np.ndarray]:
    """Items [n] drawn by lot, and where they lie on the map [n, 2], near where they are similar."""
    drawn = np.random.default_rng(0).permutation(len(gallery))[:MAX_POINTS]
    chosen = np.sort(drawn)
    where = plots.places(gallery.index.features(chosen))
    low, high = where.min(axis=0), where.max(axis=0)
    share = (where - low) / np.maximum(high - low, 1e-9)
    return chosen, 20 + share * (np.array(MAP) - 40)


def points(
    gallery: Gallery,
    labelling: Labelling,
    plane: tuple[np.ndarray, np.ndarray],
    by: str,
) -> list[Point]:
    """The map, colored by `identity` or by `camera`."""
    found = []
    for place, (x, y) in zip(plane[0].tolist(), plane[1].tolist(), strict=True):
        item = gallery.describe(place)
        number = int(labelling.labels[place])
        of = item.camera if by == "camera" else (None if number == NOBODY else number)
        color = None if of is None else of % NUM_COLORS
        words = f"{item}, {labelling.title(number)}"
        found.append(Point(item, round(x, 1), round(y, 1), color, words))
    return found


def summary(gallery: Gallery, labelling: Labelling) -> Mapping[str, int]:
    """How many of what there are."""
    labelled = int(np.count_nonzero(labelling.labels != NOBODY))
    return {
        "identities": len(labelling.numbers()),
        "labelled": labelled,
        "nobody": len(gallery) - labelled,
    }

"""How much of the drawn world a layout shows, and the pictures that every layout is made of."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.synthetic.world import World, encode_jpeg

# Ranges of person numbers. Labelled people count from 0; nobody is in two ranges.
UNLABELLED_PEOPLE = 1_000_000
DISTRACTOR_PEOPLE = 2_000_000
FRAME_STEP = 25
KEEP_EVERY = 20
JUNK_QUALITY = 85


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much of the world is written.

    Attributes:
        identities: people; train and test together in the labelled layouts.
        cameras: cameras; each one sees everybody.
        seed: seed of the world.
        height, width: size of the pictures, pixels.
        images_per_camera: pictures of a person by one camera in train and in gallery (a query
            comes on top). Ignored by `folder` and the video layouts.
        train_identities: how many of the people are for training; the default is half of them.
        distractors: gallery pictures of people who are nobody's match (identity 0).
        junk: gallery pictures without a person (identity -1).
        tracklets: passes of a person before cameras, in `folder`, and before each camera, in
            `video`.
        frames: pictures of one pass; consecutive ones in the video layouts, one in twenty of them
            in `folder`, as in LUPerson-NL.
        extra_cameras: cameras of `folder` that no labelled layout with this `cameras` uses.
        switch_rate: share of the passes in `folder` whose second half shows somebody else, the
            usual mistake of a tracker.
    """

    identities: int = 64
    cameras: int = 4
    seed: int = 0
    height: int = 128
    width: int = 64
    images_per_camera: int = 4
    train_identities: int | None = None
    distractors: int = 16
    junk: int = 8
    tracklets: int = 2
    frames: int = 4
    extra_cameras: int = 2
    switch_rate: float = 0.0

    def __post_init__(self) -> None:
        least = {"identities": 2, "cameras": 2, "images_per_camera": 1, "tracklets": 1, "frames": 1}
        least |= {"distractors": 0, "junk": 0, "extra_cameras": 0, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InputError(f"{name}={getattr(self, name)}; give {bound} or more")
        most = {"identities": 9999, "cameras": 99, "images_per_camera": 999, "frames": 999}
        for name, bound in most.items():
            if getattr(self, name) > bound:
                raise InputError(f"{name}={getattr(self, name)}; names of files hold {bound}")
        if not 0 < self.num_train < self.identities:
            raise InputError(
                f"train_identities={self.train_identities} of identities={self.identities}; "
                "leave at least one person for training and one for testing"
            )
        if not 0.0 <= self.switch_rate <= 1.0:
            raise InputError(f"switch_rate={self.switch_rate}; give a share between 0 and 1")
        World(self.seed, self.height, self.width)  # refuses sizes that cannot be drawn

    @property
    def num_train(self) -> int:
        """Number of people for training."""
        return self.identities // 2 if self.train_identities is None else self.train_identities

    @property
    def train(self) -> range:
        """Person numbers for training."""
        return range(self.num_train)

    @property
    def test(self) -> range:
        """Person numbers for testing."""
        return range(self.num_train, self.identities)

    @property
    def world(self) -> World:
        return World(self.seed, self.height, self.width)


@dataclasses.dataclass(frozen=True)
class Shot:
    """One picture: who (-1 = nobody, 0 = a stranger, else the number in file names), which camera
    (from 1), which of this person's pictures there (from 1), and the world's address."""

    pid: int
    camera: int
    number: int
    person: int
    instance: int


def train_shots(extent: Extent) -> Iterator[Shot]:
    yield from shots(extent, extent.train, range(extent.images_per_camera))


def query_shots(extent: Extent) -> Iterator[Shot]:
    """One picture by each camera, taken after those of the gallery."""
    after = extent.images_per_camera
    yield from shots(extent, extent.test, range(after, after + 1))


def match_shots(extent: Extent) -> Iterator[Shot]:
    yield from shots(extent, extent.test, range(extent.images_per_camera))


def gallery_shots(extent: Extent) -> Iterator[Shot]:
    """Matches of the queries, strangers, and pictures of nobody."""
    yield from match_shots(extent)
    for i in range(extent.distractors):
        yield Shot(0, i % extent.cameras + 1, i + 1, DISTRACTOR_PEOPLE + i, 0)
    for i in range(extent.junk):
        yield Shot(-1, i % extent.cameras + 1, i + 1, -1, i)


def shots(extent: Extent, people: range, instances: range) -> Iterator[Shot]:
    for person in people:
        for camera in range(extent.cameras):
            for instance in instances:
                yield Shot(person + 1, camera + 1, instance + 1, person, instance)


def save(world: World, shot: Shot, path: pathlib.Path, frame: int = 0) -> None:
    """Write one picture. A `.png` name gives the picture itself, any other its JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    camera = shot.camera - 1
    if path.suffix == ".png":
        picture = world.render(shot.person, camera, shot.instance, frame)
        Image.fromarray(picture).save(path, compress_level=1)
    elif shot.person < 0:
        path.write_bytes(encode_jpeg(world.render_empty(camera, shot.instance), JUNK_QUALITY))
    else:
        path.write_bytes(world.render_jpeg(shot.person, camera, shot.instance, frame))


def three_parts(
    root: pathlib.Path, extent: Extent, name: Callable[[Shot], str], gallery=gallery_shots
) -> dict[str, int]:
    """The three folders that Market-1501 made common."""
    parts = {"bounding_box_train": train_shots, "query": query_shots, "bounding_box_test": gallery}
    counts = {}
    for part, list_shots in parts.items():
        pictures = list(list_shots(extent))
        for shot in pictures:
            save(extent.world, shot, root / part / name(shot))
        counts[part] = len(pictures)
    return counts

"""Write parts of the drawn world to disk in the layouts of the published data sets."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from data_pipeline.errors import InputError, suggest
from data_pipeline.synthetic import streams
from data_pipeline.synthetic.world import World, encode_jpeg

# Ranges of person numbers. Labelled people count from 0; nobody is in two ranges.
UNLABELLED_PEOPLE = 1_000_000
DISTRACTOR_PEOPLE = 2_000_000
FRAME_STEP = 25
KEEP_EVERY = 20
JUNK_QUALITY = 85


@dataclasses.dataclass(frozen=True)
class Plan:
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


Writer = Callable[[pathlib.Path, Plan], dict[str, int]]


def make(layout: str, root: str | pathlib.Path, **numbers) -> dict[str, int]:
    """Write a part of the world in a published layout.

    Args:
        layout: a key of `LAYOUTS`.
        root: folder to fill; it must be absent or empty.
        numbers: fields of `Plan`.

    Returns:
        Number of images in each part, by the part's name.

    Raises:
        InputError: an unknown layout or setting, a folder that is not empty, impossible numbers.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}{suggest(layout, LAYOUTS)}")
    fields = [field.name for field in dataclasses.fields(Plan)]
    for name in numbers:
        if name not in fields:
            raise InputError(f"unknown setting {name!r}{suggest(name, fields)}")
    plan = Plan(**numbers)
    root = pathlib.Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} exists and is not an empty folder; give a new one or empty it")
    root.mkdir(parents=True, exist_ok=True)
    return LAYOUTS[layout](root, plan)


def _train(plan: Plan) -> Iterator[Shot]:
    yield from _shots(plan, plan.train, range(plan.images_per_camera))


def _query(plan: Plan) -> Iterator[Shot]:
    """One picture by each camera, taken after those of the gallery."""
    yield from _shots(plan, plan.test, range(plan.images_per_camera, plan.images_per_camera + 1))


def _matches(plan: Plan) -> Iterator[Shot]:
    yield from _shots(plan, plan.test, range(plan.images_per_camera))


def _gallery(plan: Plan) -> Iterator[Shot]:
    """Matches of the queries, strangers, and pictures of nobody."""
    yield from _matches(plan)
    for i in range(plan.distractors):
        yield Shot(0, i % plan.cameras + 1, i + 1, DISTRACTOR_PEOPLE + i, 0)
    for i in range(plan.junk):
        yield Shot(-1, i % plan.cameras + 1, i + 1, -1, i)


def _shots(plan: Plan, people: range, instances: range) -> Iterator[Shot]:
    for person in people:
        for camera in range(plan.cameras):
            for instance in instances:
                yield Shot(person + 1, camera + 1, instance + 1, person, instance)


def _save(world: World, shot: Shot, path: pathlib.Path, frame: int = 0) -> None:
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


def _three_parts(
    root: pathlib.Path, plan: Plan, name: Callable[[Shot], str], gallery=_gallery
) -> dict[str, int]:
    """The three folders that Market-1501 made common."""
    parts = {"bounding_box_train": _train, "query": _query, "bounding_box_test": gallery}
    counts = {}
    for part, list_shots in parts.items():
        shots = list(list_shots(plan))
        for shot in shots:
            _save(plan.world, shot, root / part / name(shot))
        counts[part] = len(shots)
    return counts


def write_market1501(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """Market-1501 (Zheng et al., Scalable Person Re-identification: A Benchmark, 2015)."""

    def name(shot: Shot) -> str:
        pid = "-1" if shot.pid < 0 else f"{shot.pid:04d}"
        frame = (max(shot.pid, 0) * 37 % 30_000 + shot.number) * FRAME_STEP
        return f"{pid}_c{shot.camera}s1_{frame:06d}_{shot.number % 100:02d}.jpg"

    return _three_parts(root, plan, name)


def write_dukemtmc(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """DukeMTMC-reID (Zheng et al., Unlabeled Samples Generated by GAN, 2017): no junk there; the
    strangers of the gallery have identities of their own."""

    def name(shot: Shot) -> str:
        pid = shot.pid or plan.identities + shot.number
        return f"{pid:04d}_c{shot.camera}_f{shot.number * FRAME_STEP:07d}.jpg"

    def gallery(plan: Plan) -> Iterator[Shot]:
        return (shot for shot in _gallery(plan) if shot.pid >= 0)

    return _three_parts(root, plan, name, gallery)


def write_cuhk03_np(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """CUHK03-NP (Zhong et al., Re-ranking Person Re-identification, 2017), PNG files in
    `labeled`; neither strangers nor junk."""

    def name(shot: Shot) -> str:
        return f"{shot.pid:04d}_c{shot.camera}_{shot.number}.png"

    counts = _three_parts(root / "labeled", plan, name, _matches)
    return {f"labeled/{part}": count for part, count in counts.items()}


def write_msmt17(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """MSMT17_V1 (Wei et al., Person Transfer GAN, 2018): folders `train` and `test`, each with
    identities from 0, and four lists of `path pid`; the camera is the third field of the name."""
    train = list(_train(plan))
    lists = {
        "train": ("train", [shot for i, shot in enumerate(train) if i % 5 != 4]),
        "val": ("train", train[4::5]),
        "query": ("test", list(_query(plan))),
        "gallery": ("test", list(_matches(plan))),
    }
    for part, (folder, shots) in lists.items():
        first = 0 if folder == "train" else plan.num_train
        lines = []
        for shot in shots:
            pid = shot.person - first
            stem = f"{pid:04d}_{shot.number:03d}_{shot.camera:02d}_0303morning"
            path = f"{pid:04d}/{stem}_{shot.number * FRAME_STEP:04d}_0.jpg"
            _save(plan.world, shot, root / folder / path)
            lines.append(f"{path} {pid}\n")
        (root / f"list_{part}.txt").write_text("".join(lines))
    return {part: len(shots) for part, (_, shots) in lists.items()}


def write_folder(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """Unlabelled tracklets, laid out as LUPerson-NL is (Fu et al., Large-Scale Pre-training for
    Person Re-identification with Noisy Labels, 2022):
    `<country>/<city>/<video>/{track:06d}_{frame:07d}_{object:02d}.jpg`.

    One camera is one video. Nobody here is in a labelled layout, and a person who passes two
    cameras is two tracklets; nothing on disk tells that they are one.
    """
    rng = streams.stream(plan.seed, streams.LAYOUT, 0)
    passes = np.repeat(np.arange(plan.identities), plan.tracklets)
    tracks = rng.permutation(len(passes))
    starts = rng.integers(0, 90_000, size=len(passes))
    switches = rng.random(len(passes)) < plan.switch_rate
    num_cameras = plan.cameras + plan.extra_cameras
    first = rng.integers(num_cameras, size=plan.identities)
    for i, identity in enumerate(passes):
        camera = int(first[identity] + i % plan.tracklets) % num_cameras
        instance = i % plan.tracklets // num_cameras
        folder = root / f"country{camera // 4}" / f"city{camera // 2}" / f"video{camera:04d}"
        for frame in range(plan.frames):
            stranger = switches[i] and 2 * frame >= plan.frames
            identity_shown = (identity + stranger) % plan.identities
            shot = Shot(0, camera + 1, 1, UNLABELLED_PEOPLE + int(identity_shown), instance)
            moment = KEEP_EVERY * frame
            name = f"{tracks[i]:06d}_{starts[i] + moment:07d}_00.jpg"
            _save(plan.world, shot, folder / name, moment)
    return {"images": len(passes) * plan.frames}


def write_video(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """Tracklets named as in MARS (Zheng et al., MARS: A Video Benchmark, 2016):
    `bbox_train/0001/0001C1T0001F001.jpg`, and the lists of names in `info`. The Matlab index files
    of MARS are not written: names tell person, camera, tracklet and frame."""
    if plan.cameras > 9:
        raise InputError(
            f"cameras={plan.cameras}; the names of MARS have one digit, give at most 9"
        )
    counts = {}
    for part, people in {"train": plan.train, "test": plan.test}.items():
        names = []
        for shot in _shots(plan, people, range(plan.tracklets)):
            for frame in range(plan.frames):
                name = f"{shot.pid:04d}C{shot.camera}T{shot.number:04d}F{frame + 1:03d}.jpg"
                _save(plan.world, shot, root / f"bbox_{part}" / name[:4] / name, frame)
                names.append(name)
        (root / "info").mkdir(exist_ok=True)
        (root / "info" / f"{part}_name.txt").write_text("\n".join(names) + "\n")
        counts[f"bbox_{part}"] = len(names)
    return counts


def write_prid2011(root: pathlib.Path, plan: Plan) -> dict[str, int]:
    """PRID2011 (Hirzer et al., Person Re-identification by Descriptive and Discriminative
    Classification, 2011): one tracklet of everybody in each of two cameras,
    `multi_shot/cam_a/person_0001/0001.png`."""
    count = 0
    for letter, camera in (("a", 1), ("b", 2)):
        for person in range(plan.identities):
            shot = Shot(person + 1, camera, 1, person, 0)
            folder = root / "multi_shot" / f"cam_{letter}" / f"person_{person + 1:04d}"
            for frame in range(plan.frames):
                _save(plan.world, shot, folder / f"{frame + 1:04d}.png", frame)
                count += 1
    return {"multi_shot": count}


LAYOUTS: dict[str, Writer] = {
    "market1501": write_market1501,
    "dukemtmc": write_dukemtmc,
    "msmt17": write_msmt17,
    "cuhk03_np": write_cuhk03_np,
    "folder": write_folder,
    "video": write_video,
    "prid2011": write_prid2011,
}

"""The crops of one video: a unit of work that is done whole or not at all."""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import simplejpeg

from data_pipeline.crops import boxes, detections, reader
from data_pipeline.crops.detections import Detections
from data_pipeline.crops.videos import Video
from data_pipeline.errors import InputError
from data_pipeline.read import atomic, listing
from data_pipeline.table.records import UNLABELLED

IMAGES, RECORDS = "images", "videos"


@dataclasses.dataclass(frozen=True)
class Convention:
    """What LUPerson and LUPerson-NL do differently.

    Attributes:
        first_frame: what the detections call the first frame of a video.
        with_ids: whether boxes have identities.
        file_name: of a crop, from frame, object, pid.
    """

    first_frame: int
    with_ids: bool
    file_name: str


SOURCES = {
    "luperson": Convention(1, False, "{frame:08d}_{object:04d}.jpg"),
    "luperson_nl": Convention(0, True, "{pid:06d}_{frame:07d}_{object:02d}.jpg"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What decides about the crops; the same for all videos of a folder.

    Attributes:
        source: a key of `SOURCES`.
        first_frame: 0 or 1, what the detections call the first frame.
        min_frames: least number of frames in which an identity is seen; see `detections.sample`.
        keep_every: one in so many frames of an identity is kept.
        outside: a key of `boxes.OUTSIDE`.
        quality: of the JPEG files, 1 to 100; 95 is what LUPerson's scripts write.
        decoder: a key of `reader.DECODERS`.
    """

    source: str
    first_frame: int
    min_frames: int = 1
    keep_every: int = 1
    outside: str = "refuse"
    quality: int = 95
    decoder: str = "av"


@dataclasses.dataclass(frozen=True)
class VideoJob:
    """One video to take crops of.

    Attributes:
        video: its name.
        path: its file.
        detections: its pickle.
        made_at: size of the picture that the detector saw, see `boxes.fit`.
        out: the folder that holds `images` and `videos`.
        options: what is common to all videos.
    """

    video: Video
    path: str
    detections: str
    made_at: str
    out: str
    options: Options

    def inputs(self) -> dict[str, int | str]:
        """What tells whether a finished video has to be done anew."""
        sizes = [os.path.getsize(path) for path in (self.path, self.detections)]
        return {"video_bytes": sizes[0], "detections_bytes": sizes[1], "made_at": self.made_at}


@dataclasses.dataclass
class Counts:
    """What became of the boxes of one video or of all.

    `boxes` is the sum of `crops` and of the six numbers after it.

    Attributes:
        boxes: in the file of detections.
        crops: written.
        sampled_out: of people not seen for long enough, or of frames in between.
        outside: not in the frame.
        empty: without a pixel, or no numbers.
        repeated: with the file name of an earlier box.
        damaged: in frames that could not be decoded.
        beyond_end: in frames after the last one of the video.
        clipped: of the crops, those that were cut to the frame.
        ids: identities among the crops.
        damaged_frames: wanted frames that could not be decoded.
    """

    boxes: int = 0
    crops: int = 0
    sampled_out: int = 0
    outside: int = 0
    empty: int = 0
    repeated: int = 0
    damaged: int = 0
    beyond_end: int = 0
    clipped: int = 0
    ids: int = 0
    damaged_frames: int = 0

    def add(self, other: "Counts") -> None:
        """Adds another video's numbers."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclasses.dataclass(frozen=True)
class Record:
    """What was done with one video.

    Attributes:
        name: of the video.
        failure: why it gave no crops; "" where it is done.
        inputs: see `VideoJob.inputs`.
        counts: see `Counts`.
        frame_size: width and height of its first wanted frame; (0, 0) where none was wanted.
        reach: the farthest right and bottom side of a box, in shares of the frame.
    """

    name: str
    failure: str = ""
    inputs: dict[str, int | str] = dataclasses.field(default_factory=dict)
    counts: Counts = dataclasses.field(default_factory=Counts)
    frame_size: tuple[int, int] = (0, 0)
    reach: tuple[float, float] = (0.0, 0.0)


def extract_video(job: VideoJob) -> Record:
    """Writes the crops of one video, and the record that says that it is done.

    Crops are collected in a hidden folder that gets its name when all of them are there, so that a
    process killed at any moment leaves nothing that looks finished.

    Returns:
        The record. A video or detections that cannot be read, or that do not fit each other, give
        one with `failure` and no file; the next run tries them again.

    Raises:
        OSError: the crops cannot be written.
    """
    folder = pathlib.Path(job.out, IMAGES, job.video.folder)
    part = folder.with_name(f".{folder.name}.part")
    for stale in (part, folder):
        if listing.exists(stale):
            shutil.rmtree(stale)
    try:
        record = _extract(job, part)
    except InputError as error:
        shutil.rmtree(part, ignore_errors=True)
        return Record(job.video.name, failure=str(error))
    if listing.exists(part):
        part.replace(folder)
    text = json.dumps(dataclasses.asdict(record), indent=1) + "\n"
    atomic.write_text(record_path(job.out, job.video), text)
    return record


def record_path(out: str, video: Video) -> pathlib.Path:
    """Where the record of a finished video lies."""
    return pathlib.Path(out, RECORDS, f"{video.name}.json")


def finished(job: VideoJob) -> Record | None:
    """The record of a video that is done, with the same inputs; otherwise None.

    Raises:
        InputError: the file of the record holds something else.
    """
    path = record_path(job.out, job.video)
    listing.check_opens(path)
    try:
        stored = json.loads(path.read_text())
        counts = Counts(**stored.pop("counts"))
        size, reach = tuple(stored.pop("frame_size")), tuple(stored.pop("reach"))
        record = Record(**stored, counts=counts, frame_size=size, reach=reach)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"{path} should be the record of a finished video ({error}); delete it, and the video "
            "is done again"
        ) from error
    return record if record.inputs == job.inputs() else None


def _extract(job: VideoJob, part: pathlib.Path) -> Record:
    options, source = job.options, SOURCES[job.options.source]
    found = detections.read(job.detections, source.with_ids)
    counts = Counts(boxes=len(found))
    found = detections.sample(found, options.min_frames, options.keep_every)
    counts.sampled_out = counts.boxes - len(found)
    frame = found.frame - options.first_frame
    if frame.min(initial=0) < 0:
        raise InputError(
            f"{job.detections} has boxes in frame {found.frame.min()}, but frames are said to be "
            f"counted from {options.first_frame}; compare --first-frame"
        )
    wanted, starts = np.unique(frame, return_index=True)
    ends = [*starts[1:].tolist(), len(found)]
    rows = {f: np.arange(a, b) for f, a, b in zip(wanted.tolist(), starts, ends, strict=False)}
    crops = _Crops(job, part, found, counts)
    last = -1
    for last, pixels in reader.frames(job.path, wanted.tolist(), options.decoder):
        if pixels is None:
            counts.damaged_frames += 1
            counts.damaged += len(rows[last])
        else:
            crops.write(pixels, rows[last])
    counts.beyond_end = int((frame > last).sum())
    if len(found) and crops.fitted is None:
        raise InputError(
            f"none of the {len(wanted)} frames with boxes could be decoded from {job.path}; it is "
            "damaged or shorter than the video that the detections were made on"
        )
    counts.ids = len(crops.ids)
    reach = crops.fitted.reach if crops.fitted else (0.0, 0.0)
    return Record(job.video.name, "", job.inputs(), counts, crops.size, reach)


class _Crops:
    """Writes crops frame by frame, and counts them."""

    def __init__(
        self, job: VideoJob, part: pathlib.Path, found: Detections, counts: Counts
    ) -> None:
        self.job, self.part, self.found, self.counts = job, part, found, counts
        self.size: tuple[int, int] = (0, 0)
        self.fitted: boxes.Fitted | None = None
        self.ids: set[int] = set()
        self._names: set[str] = set()

    def write(self, pixels: np.ndarray, rows: np.ndarray) -> None:
        """The crops of one frame; `rows` are those of its boxes."""
        size = (pixels.shape[1], pixels.shape[0])
        outside = self.job.options.outside
        if self.fitted is None:
            # All boxes at once, so that a video is refused before its first crop is written.
            self.size = size
            self.fitted = boxes.fit(self.found.box, self.job.made_at, size, outside)
        fitted, places = self.fitted, rows
        if size != self.size:
            # Streams may change their size; the detector saw them at that of the first frame.
            made_at = self.job.made_at or f"{self.size[0]}x{self.size[1]}"
            fitted = boxes.fit(self.found.box[rows], made_at, size, outside)
            places = np.arange(len(rows))
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            self._write_one(pixels, row, fitted, place)

    def _write_one(self, pixels: np.ndarray, row: int, fitted: boxes.Fitted, place: int) -> None:
        pid, options = int(self.found.pid[row]), self.job.options
        name = SOURCES[options.source].file_name.format(
            frame=int(self.found.frame[row]), object=int(self.found.object[row]), pid=pid
        )
        if fitted.empty[place]:
            self.counts.empty += 1
        elif fitted.outside[place]:
            self.counts.outside += 1
        elif name in self._names:
            self.counts.repeated += 1
        else:
            left, top, right, bottom = fitted.box[place]
            crop = np.ascontiguousarray(pixels[top:bottom, left:right])
            self.part.mkdir(parents=True, exist_ok=True)
            (self.part / name).write_bytes(encode(crop, options.quality))
            self._names.add(name)
            self.counts.crops += 1
            self.counts.clipped += int(fitted.clipped[place])
            if pid != UNLABELLED:
                self.ids.add(pid)


def encode(crop: np.ndarray, quality: int) -> bytes:
    """A JPEG file of a [H, W, 3] uint8 RGB picture, with colors at half the resolution."""
    return simplejpeg.encode_jpeg(crop, quality=quality, colorspace="RGB", colorsubsampling="420")

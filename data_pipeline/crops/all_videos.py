"""The crops of many videos: side by side in processes, and resumable at any moment."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from data_pipeline.crops import boxes, extract, reader, videos
from data_pipeline.crops.extract import SOURCES, Counts, Options, Record, VideoJob
from data_pipeline.crops.videos import Video, VideoList
from data_pipeline.crops.workers import process_pool
from data_pipeline.errors import InputError, suggest
from data_pipeline.read import atomic, listing

OPTIONS_FILE, SUMMARY_FILE = "build.json", "summary.json"
MISSING_VIDEOS, MISSING_DETECTIONS = "missing_videos.txt", "missing_detections.txt"
# Boxes of a street scene reach the right and the lower edge sooner or later. Where so many of them
# stay this far away from both, the detector probably saw a smaller picture.
SMALL_REACH, ENOUGH_BOXES = 0.75, 100


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of the videos.

    Attributes:
        videos: how many were asked for.
        done: how many are finished, by this run or earlier ones.
        missing_videos, missing_detections: names of videos without a file, and of those that have
            one but no detections.
        failed: reasons by the names of the videos that gave none.
        small: names of videos whose boxes keep to the upper left part of the frame.
        counts: sums over the finished videos.
    """

    videos: int
    done: int
    missing_videos: tuple[str, ...]
    missing_detections: tuple[str, ...]
    failed: Mapping[str, str]
    small: tuple[str, ...]
    counts: Counts


def make_options(
    source: str,
    first_frame: int | None = None,
    sampling: str = "",
    outside: str = "refuse",
    quality: int = 95,
    decoder: str | None = None,
) -> Options:
    """Checked options, with the defaults of the source.

    Args:
        source: a key of `extract.SOURCES`.
        first_frame: 0 or 1, what the detections call the first frame of a video.
        sampling: `200_20` and the like, see `detections.sample`; "" takes every box.
        outside: a key of `boxes.OUTSIDE`, for boxes that reach beyond the frame.
        quality: of the JPEG files, 1 to 100.
        decoder: a key of `reader.DECODERS`; the default is what is installed.

    Raises:
        InputError: a value that does not exist or does not fit the source; no decoder.
    """
    if source not in SOURCES:
        raise InputError(f"there is no source {source!r}{suggest(source, SOURCES)}")
    if outside not in boxes.OUTSIDE:
        raise InputError(f"outside is {outside!r}{suggest(outside, boxes.OUTSIDE)}")
    if first_frame not in (None, 0, 1):
        raise InputError(f"the first frame has the number {first_frame}; expected 0 or 1")
    if not 1 <= quality <= 100:
        raise InputError(f"JPEG quality {quality}; expected 1 to 100")
    numbers = sampling.split("_") if sampling else ["1", "1"]
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise InputError(
            f"sampling {sampling!r}; expected FRAMES_STEP such as 200_20: who is seen in at least "
            "200 frames, one picture in 20 frames"
        )
    if sampling and not SOURCES[source].with_ids:
        raise InputError(
            f"sampling {sampling} counts the frames of an identity, and detections of {source} "
            "have none; leave it out"
        )
    default = SOURCES[source].first_frame
    first = default if first_frame is None else first_frame
    shortest, step = map(int, numbers)
    return Options(source, first, shortest, step, outside, quality, decoder or reader.backend())


def extract_all(
    listed: VideoList,
    videos_root: str,
    detections_root: str,
    out: str,
    options: Options,
    made_at: str | Mapping[str, str] = "",
    num_workers: int = 1,
    share: tuple[int, int] = (0, 1),
    on_done: Callable[[Record, int, int], None] | None = None,
) -> Summary:
    """Writes the crops of videos to `<out>/images/<country>/<city>/<id>/`.

    A video is done by one process from beginning to end, and marked in `<out>/videos/` when all of
    its crops are there. A run goes on where an earlier one in the same folder stopped, and repeats
    what failed; videos with other files or another `made_at` than before are done again. The result
    does not depend on interruptions or on the number of processes.

    Args:
        listed: which videos.
        videos_root: `<root>/<country>/<city>/<country+city+id>.mp4`.
        detections_root: folder of `<country+city+id>.pkl`.
        out: folder to fill; absent, empty, or of an earlier run with the same options.
        options: from `make_options`.
        made_at: size of the pictures that the detector saw, for all videos or by their names; see
            `boxes.fit`.
        num_workers: processes; 0 and 1 do the work in this one.
        share: (i, n): only every n-th video, from the i-th. Several machines that write to one
            folder take one share each; a run without share afterwards sums up.
        on_done: called after each video with its record, and with how many of how many are done.

    Returns:
        The summary. Without shares it is also written to the folder, and so are the missing names.

    Raises:
        InputError: a folder is missing, holds something else, or cannot be written to; the options
            are not those of the earlier run; a process died.
    """
    index, count = share
    if not 0 <= index < count:
        raise InputError(f"share {index} of {count}; expected a number from 0 to {count - 1}")
    chosen = listed.videos[index::count]
    paths = videos.find_videos(videos_root, chosen)
    pickles = videos.find_detections(detections_root, chosen)
    _expect_some(chosen, paths, videos_root, "<country>/<city>/<country+city+id>.mp4")
    _expect_some(chosen, pickles, detections_root, "<country+city+id>.pkl")
    _open_folder(pathlib.Path(out), options)
    jobs = [
        VideoJob(video, paths[video], pickles[video], _size_of(made_at, video), out, options)
        for video in chosen
        if video in paths and video in pickles
    ]
    records = _run(jobs, num_workers, on_done)
    missing = tuple(video.name for video in chosen if video not in paths)
    unseen = tuple(v.name for v in chosen if v in paths and v not in pickles)
    summary = _sum_up(len(chosen), records, missing, unseen)
    if count == 1:
        _write_summary(pathlib.Path(out), summary)
    return summary


def read_sizes(path: str) -> dict[str, str]:
    """Sizes of the pictures that the detector saw, by video.

    Args:
        path: a text file with a line for each video: `country+city+id`, a blank, and `1280x720` or
            the height alone. Videos that are not in it count as seen at their own size.

    Raises:
        InputError: the file cannot be read, or a line has another form.
    """
    listing.check_opens(os.path.expanduser(path))
    try:
        lines = pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read {path}, which should hold sizes of detections ({error}); expected a "
            "size such as 1280x720 or 720, or a file of lines `country+city+id 1280x720`"
        ) from error
    sizes = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, size = line.strip().rpartition(" ")
        if not videos.parse_name(name.strip()) or not boxes.parse_size(size):
            raise InputError(
                f"{path}, line {number}: {line.strip()!r}; expected `country+city+id 1280x720`"
            )
        sizes[name.strip()] = size
    return sizes


def _expect_some(chosen: Sequence[Video], found: Mapping[Video, str], root: str, path: str) -> None:
    if chosen and not found:
        raise InputError(
            f"nothing below {root} belongs to any of the {len(chosen)} videos; expected {path}, "
            f"for example for {chosen[0].name}"
        )


def _size_of(made_at: str | Mapping[str, str], video: Video) -> str:
    size = made_at if isinstance(made_at, str) else made_at.get(video.name, "")
    if size and not boxes.parse_size(size):
        raise InputError(f"the detections' size {size!r}; expected 1280x720, or the height 720")
    return size


def _open_folder(out: pathlib.Path, options: Options) -> None:
    """Makes the folder, or checks that it belongs to a run with the same options."""
    file = out / OPTIONS_FILE
    given = dataclasses.asdict(options)
    try:
        if listing.exists(file):
            stored = json.loads(file.read_text())
            changed = [name for name in given if stored.get(name) != given[name]]
            if changed:
                listed = ", ".join(f"{n} {stored.get(n)!r}, not {given[n]!r}" for n in changed)
                raise InputError(
                    f"{out} was begun with {listed}; go on with the same options, or give another "
                    "folder"
                )
        elif listing.exists(out) and listing.names(out):
            raise InputError(f"{out} holds something else; give an absent or empty folder")
        (out / extract.RECORDS).mkdir(parents=True, exist_ok=True)
        (out / extract.IMAGES).mkdir(exist_ok=True)
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"cannot use {out} as the folder of the crops: {error}") from error
    atomic.write_text(file, json.dumps(given, indent=1) + "\n")


def _run(
    jobs: Sequence[VideoJob], num_workers: int, on_done: Callable[[Record, int, int], None] | None
) -> list[Record]:
    """The records of all jobs, in their order."""
    records = {job.video: extract.finished(job) for job in jobs}
    waiting = [job for job in jobs if records[job.video] is None]
    number = len(jobs) - len(waiting)
    try:
        for job, record in _results(waiting, num_workers):
            records[job.video] = record
            number += 1
            if on_done:
                on_done(record, number, len(jobs))
    except OSError as error:
        raise InputError(
            f"cannot write the crops: {error}; make room, run the same command again, and it goes "
            "on"
        ) from error
    return [record for record in records.values() if record]


def _results(jobs: Sequence[VideoJob], num_workers: int) -> Iterator[tuple[VideoJob, Record]]:
    """Records as they get ready."""
    if num_workers <= 1:
        for job in jobs:
            yield job, extract.extract_video(job)
        return
    with process_pool(num_workers) as pool:
        futures = {pool.submit(extract.extract_video, job): job for job in jobs}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()


def _sum_up(
    number: int, records: Sequence[Record], missing: tuple[str, ...], unseen: tuple[str, ...]
) -> Summary:
    counts = Counts()
    done = [record for record in records if not record.failure]
    for record in done:
        counts.add(record.counts)
    small = tuple(
        r.name for r in done if r.counts.crops >= ENOUGH_BOXES and max(r.reach) < SMALL_REACH
    )
    failed = {record.name: record.failure for record in records if record.failure}
    return Summary(number, len(done), missing, unseen, failed, small, counts)


def _write_summary(out: pathlib.Path, summary: Summary) -> None:
    lists = {
        MISSING_VIDEOS: summary.missing_videos,
        MISSING_DETECTIONS: summary.missing_detections,
    }
    for name, missing in lists.items():
        with atomic.replacing(out / name) as part:
            part.write_bytes(os.fsencode("".join(f"{one}\n" for one in missing)))
    atomic.write_text(out / SUMMARY_FILE, json.dumps(dataclasses.asdict(summary), indent=1) + "\n")

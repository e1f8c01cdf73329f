"""`luperson data extract`: the crops of LUPerson and LUPerson-NL, from videos and detections.

Videos that are done are passed over, so that the same command goes on after an interruption, and
several machines take a --share each. docs/building_luperson.md tells the whole way.

Example:
    luperson data extract --source luperson_nl --list vnames.txt --videos VIDEOS \\
        --detections DETECTIONS --out CROPS --sampling 200_20 --workers 16
"""

import argparse
import dataclasses
import os

from data_pipeline import terminal
from data_pipeline.crops import all_videos, boxes, videos
from data_pipeline.crops.extract import SOURCES, Record
from data_pipeline.errors import InputError, shorten


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--source", required=True, help=", ".join(SOURCES))
    parser.add_argument("--list", help="vnames.txt; without it, all videos below --videos")
    parser.add_argument(
        "--videos", required=True, help="<country>/<city>/<country+city+id>.mp4 below it"
    )
    parser.add_argument("--detections", required=True, help="folder of <country+city+id>.pkl")
    parser.add_argument("--out", required=True, help="folder to fill or to go on with")
    first = ", ".join(f"{source.first_frame} for {name}" for name, source in SOURCES.items())
    parser.add_argument(
        "--first-frame",
        type=int,
        choices=(0, 1),
        help=f"number that the detections give the first frame of a video (default: {first})",
    )
    parser.add_argument(
        "--sampling",
        default="",
        metavar="FRAMES_STEP",
        help="200_20: people seen in 200 frames or more, one picture in 20 "
        "frames (default: all people and frames)",
    )
    parser.add_argument(
        "--detections-at",
        default="",
        metavar="SIZE",
        help="resolution that the detections were made at, if another: 1280x720, "
        "720 for the height alone, in pixels, or a file of lines `country+city+id 1280x720` "
        "(default: that of the videos)",
    )
    outside = "; ".join(f"{name}: {what}" for name, what in boxes.OUTSIDE.items())
    parser.add_argument(
        "--outside",
        choices=tuple(boxes.OUTSIDE),
        default="refuse",
        help=f"boxes that reach beyond the frame. {outside}",
    )
    parser.add_argument(
        "--quality", type=int, default=95, help="quality of the JPEG files, 1 to 100"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that read videos"
    )
    parser.add_argument(
        "--share", default="0/1", metavar="I/N", help="only every N-th video, from the I-th"
    )


def run(options: argparse.Namespace) -> None:
    """Cuts the crops out, and says what was done and what is missing.

    Raises:
        InputError: wrong options, lists or folders, or crops begun with other options.
    """
    settings = all_videos.make_options(
        options.source, options.first_frame, options.sampling, options.outside, options.quality
    )
    path = options.list
    listed = videos.read_list(path) if path else videos.list_folder(options.videos)
    terminal.say(*_about_list(listed))
    made_at = options.detections_at
    summary = all_videos.extract_all(
        listed,
        options.videos,
        options.detections,
        options.out,
        settings,
        made_at if not made_at or boxes.parse_size(made_at) else all_videos.read_sizes(made_at),
        options.workers,
        _share(options.share),
        _say_video,
    )
    terminal.say(*_about_run(summary, options))


def _about_list(listed: videos.VideoList) -> list[str]:
    lines = [f"{len(listed.videos)} videos"]
    for what, names in (
        ("named more than once", listed.repeated),
        ("left out, because their id stands under another city too", listed.elsewhere),
    ):
        if names:
            lines += [f"{len(names)} {what}:", *(f"  {name}" for name in shorten(names))]
    return lines


def _say_video(record: Record, number: int, total: int) -> None:
    what = record.failure or f"{record.counts.crops} crops of {record.counts.boxes} boxes"
    terminal.say(f"[{number}/{total}] {record.name}: {what}")


def _about_run(summary: all_videos.Summary, options: argparse.Namespace) -> list[str]:
    lines = [f"{summary.done} of {summary.videos} videos done"]
    numbers = dataclasses.asdict(summary.counts)
    lines += [f"  {name.replace('_', ' ')}: {number}" for name, number in numbers.items() if number]
    for what, names in (
        ("videos have no file", summary.missing_videos),
        ("videos have no detections", summary.missing_detections),
        ("videos failed", [f"{name}: {why}" for name, why in summary.failed.items()]),
        (
            "videos have boxes in the upper left part only; were the detections made at a lower "
            "resolution? (--detections-at)",
            summary.small,
        ),
    ):
        if names:
            lines += [f"{len(names)} {what}:", *(f"  {name}" for name in shorten(names))]
    counts = summary.counts
    if options.sampling and counts.boxes and counts.sampled_out == counts.boxes:
        lines.append(
            f"sampling {options.sampling} left nothing: these detections are probably sampled "
            "already; leave --sampling out"
        )
    return lines


def _share(text: str) -> tuple[int, int]:
    index, found, count = text.partition("/")
    if not found or not index.isdecimal() or not count.isdecimal():
        raise InputError(f"--share {text!r}; expected I/N such as 0/4, from 0/4 to 3/4")
    return int(index), int(count)

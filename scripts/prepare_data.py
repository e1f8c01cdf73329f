"""LUPerson and LUPerson-NL from videos and detections, and statistics of any data set.

    python scripts/prepare_data.py extract --source luperson_nl --list vnames.txt --videos VIDEOS \
        --detections DETECTIONS --out CROPS --sampling 200_20 --workers 16
    python scripts/prepare_data.py pack --source luperson_nl --images CROPS --out PACKED
    python scripts/prepare_data.py unpack LUPerson.zip.001 /data/luperson
    python scripts/prepare_data.py statistics --dataset image_folder --root CROPS/images

docs/building_luperson.md explains the options.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence

from data_pipeline import datasets, terminal
from data_pipeline.crops import boxes, pack, run, statistics, videos
from data_pipeline.crops.extract import SOURCES, Record
from data_pipeline.errors import InputError, shorten
from data_pipeline.read import archives, atomic
from data_pipeline.table.records import Table

STEP_OF_PROGRESS = 50_000
PARTS = ("train", "query", "gallery")


def extract(options: argparse.Namespace) -> None:
    """Crops from videos."""
    settings = run.make_options(
        options.source, options.first_frame, options.sampling, options.outside, options.quality
    )
    path = options.list
    listed = videos.read_list(path) if path else videos.list_folder(options.videos)
    terminal.say(*_about_list(listed))
    made_at = options.detections_at
    summary = run.build(
        listed,
        options.videos,
        options.detections,
        options.out,
        settings,
        made_at if not made_at or boxes.parse_size(made_at) else run.read_sizes(made_at),
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


def _about_run(summary: run.Summary, options: argparse.Namespace) -> list[str]:
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


def pack_crops(options: argparse.Namespace) -> None:
    """LMDB and keys.pkl from crops."""
    packed = pack.pack(options.images, options.out, options.source, options.persons)
    ids = f", {packed.ids} identities" if packed.ids else ""
    terminal.say(f"{options.out}: {packed.images} pictures of {packed.videos} videos{ids}")
    if packed.same_id:
        names = shorten(packed.same_id)
        terminal.say(
            f"{len(packed.same_id)} folders left out, whose id stands under another city:", *names
        )


def show_statistics(options: argparse.Namespace) -> None:
    """Mean and standard deviation of pixels."""
    splits = datasets.load(options.dataset, options.root, "--root", options.split)
    table: Table = getattr(splits, options.part)
    if not len(table):
        filled = [part for part in PARTS if len(getattr(splits, part))]
        raise InputError(f"{options.dataset} has no {options.part}; it has {', '.join(filled)}")
    # Rows stand in the order of a hash of their names: the first of them are a random sample.
    media = table.media[: options.limit] if options.limit else table.media
    told = 0

    def say_progress(done: int, total: int) -> None:
        nonlocal told
        if done // STEP_OF_PROGRESS > told:
            told = done // STEP_OF_PROGRESS
            terminal.say(f"{done} of {total}")

    skip = options.unreadable == "skip"
    found = statistics.pixel_statistics(media, options.size, skip, options.workers, say_progress)
    terminal.say(
        f"{found.images} pictures, {found.pixels} pixels; red, green, blue",
        "mean " + " ".join(f"{value:.4f}" for value in found.mean),
        "std  " + " ".join(f"{value:.4f}" for value in found.std),
    )
    if found.skipped:
        terminal.say(f"{len(found.skipped)} pictures could not be read:", *shorten(found.skipped))
    if options.json:
        atomic.write_text(options.json, json.dumps(dataclasses.asdict(found), indent=1) + "\n")


def unpack(options: argparse.Namespace) -> None:
    """What is in an archive, kept inside the folder."""
    done = archives.extract(options.archive, options.folder)
    skipped = [f"left out {name}" for name in shorten(list(done.skipped))]
    terminal.say(
        f"{options.folder}: {done.written} files written, {done.kept} were there", *skipped
    )


def _share(text: str) -> tuple[int, int]:
    index, found, count = text.partition("/")
    if not found or not index.isdecimal() or not count.isdecimal():
        raise InputError(f"--share {text!r}; expected I/N such as 0/4, from 0/4 to 3/4")
    return int(index), int(count)


def make_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_extract(commands.add_parser("extract", help="crops from videos and detections"))
    packing = commands.add_parser("pack", help="LMDB and keys.pkl from crops")
    packing.add_argument("--source", required=True, help=", ".join(SOURCES))
    packing.add_argument("--images", required=True, help="<country>/<city>/<id>/*.jpg below it")
    packing.add_argument("--out", required=True, help="folder that gets lmdb and keys.pkl")
    persons = "; ".join(f"{name}: {what}" for name, what in pack.PERSONS.items())
    packing.add_argument(
        "--persons", default="", help=f"if pids stand in several videos: {persons}"
    )
    packing.set_defaults(run=pack_crops)
    unpacking = commands.add_parser("unpack", help="a zip or tar archive, or pieces of one")
    unpacking.add_argument("archive", help="the archive, or any piece of it")
    unpacking.add_argument("folder", help="where to; what is there already is kept")
    unpacking.set_defaults(run=unpack)
    stats = commands.add_parser("statistics", help="mean and standard deviation of pixels, 0..1")
    stats.add_argument("--dataset", required=True, help=", ".join(datasets.DATASETS))
    stats.add_argument("--root", required=True, help="its folder, or several by commas")
    stats.add_argument("--split", type=int, default=0, help="which published division, from 0")
    stats.add_argument("--part", choices=PARTS, default="train")
    stats.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="stretch pictures to it first, so that small ones count as much as large ones",
    )
    stats.add_argument("--limit", type=int, default=0, help="a random sample of so many pictures")
    stats.add_argument("--unreadable", choices=("error", "skip"), default="error")
    stats.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    stats.add_argument("--json", help="file for all digits")
    stats.set_defaults(run=show_statistics)
    return parser


def _add_extract(parser: argparse.ArgumentParser) -> None:
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
        help=f"what the detections call the first frame of a video; by default {first}",
    )
    parser.add_argument(
        "--sampling",
        default="",
        metavar="FRAMES_STEP",
        help="200_20: people seen in 200 frames or more, one picture in 20 frames",
    )
    parser.add_argument(
        "--detections-at",
        default="",
        metavar="SIZE",
        help="resolution that the detections were made at, if not that of the videos: 1280x720, "
        "720 for the height alone, or a file of lines `country+city+id 1280x720`",
    )
    outside = "; ".join(f"{name}: {what}" for name, what in boxes.OUTSIDE.items())
    parser.add_argument(
        "--outside",
        choices=tuple(boxes.OUTSIDE),
        default="refuse",
        help=f"boxes that reach beyond the frame. {outside}",
    )
    parser.add_argument("--quality", type=int, default=95, help="of the JPEG files")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--share", default="0/1", metavar="I/N", help="only every N-th video, from the I-th"
    )
    parser.set_defaults(run=extract)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 2 where the user has something to mend."""
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        terminal.complain("prepare_data", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(terminal.run("prepare_data", main))

"""BoxMOT's BoT-SORT with re-ID weights of `luperson export --to boxmot`, on crops of MOT17.

    python scripts/track_with_boxmot.py DIR bot.onnx

It runs where BoxMOT 25 is installed, and needs nothing of this program. DIR holds `tracklets.csv`
with the columns file, pid, seq, frame, x, y, w, h, and the crops that `file` names in its folder
`tracklets`. Frames are put together from the crops: each lies in its box, on gray. So the boxes are
those of the annotation, and nothing is detected. What the program says: of how many people how
many tracks were made, and how often a person got another number; with every frame, and with few.
"""

import argparse
import collections
import csv
import pathlib

import cv2
import numpy as np
from boxmot import BotSort

WIDTH, HEIGHT, GRAY = 1920, 1080, 128
SURE = 0.9
"""Score of every box."""
STEPS = (1, 3)
"""Every frame, and every third."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("weights")
    options = parser.parse_args()
    sequences = collections.defaultdict(lambda: collections.defaultdict(list))
    with (options.folder / "tracklets.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            sequences[row["seq"]][int(row["frame"])].append(row)
    for name, frames in sequences.items():
        for step in STEPS:
            for weights in (options.weights, None):
                people, tracks, switches, boxes = track(options.folder, frames, weights, step)
                how = "with re-ID" if weights else "by motion alone"
                print(
                    f"sequence {name}, frames {len(range(0, len(frames), step))}, {how}: "
                    f"{boxes} boxes, {people} people, {tracks} tracks, {switches} switches"
                )


def track(folder, frames, weights, step):
    """People, tracks, and how often the number of a person changed; boxes that were tracked."""
    tracker = BotSort(
        reid_weights=weights, use_embeddings=weights is not None, use_cmc=False, min_hits=1
    )
    numbers, switches, boxes = {}, 0, 0
    for number in sorted(frames)[::step]:
        rows = frames[number]
        found = tracker.update(detections(rows), frame_of(folder, rows))
        for one in found:
            pid, track_id = rows[int(one[7])]["pid"], int(one[4])
            switches += numbers.get(pid, track_id) != track_id
            numbers[pid] = track_id
            boxes += 1
    return len(numbers), len(set(numbers.values())), switches, boxes


def detections(rows):
    """[N, 6] float32: left, top, right, bottom, score, class."""
    found = []
    for row in rows:
        x, y, w, h = (float(row[name]) for name in "xywh")
        found.append((x, y, x + w, y + h, SURE, 0))
    return np.array(found, np.float32)


def frame_of(folder, rows):
    """The crops of a frame in their boxes, in BGR."""
    frame = np.full((HEIGHT, WIDTH, 3), GRAY, np.uint8)
    for row in rows:
        crop = cv2.imread(str(folder / "tracklets" / row["file"]))
        left, top = max(int(row["x"]), 0), max(int(row["y"]), 0)
        part = frame[top : top + len(crop), left : left + crop.shape[1]]
        part[:] = crop[: len(part), : part.shape[1]]
    return frame


if __name__ == "__main__":
    main()

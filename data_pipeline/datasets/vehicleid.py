"""VehicleID (PKU): pictures in one folder, vehicles in lists; cameras are not told.

A test list is divided as in the paper: one picture of each vehicle is the gallery, the others are
the queries. Which one is drawn at random there; here it is the one whose number has the smallest
hash with `SEED`, so that every machine draws the same. Queries stand as camera 0 and the gallery as
camera 1, because evaluation removes matches of the query's own camera; training pictures have -1.
"""

import functools
import hashlib
import os

import numpy as np

from data_pipeline.datasets import folders, listed
from data_pipeline.datasets.about import Count, DataSet
from data_pipeline.errors import InputError
from data_pipeline.read import listing
from data_pipeline.table.records import Splits, Table, table_of

SEED = 0
PLACES = ("VehicleID", "vehicleid", "VehicleID_V1.0")
PICTURES, LISTS = "image", "train_test_split"
TRAIN_LIST, TEST_LIST = "train_list.txt", "test_list_{}.txt"
EXAMPLE_LINE = "0000001 17"
NO_CAMERA, QUERY_CAMERA, GALLERY_CAMERA = -1, 0, 1

# Vehicles of a test list -> its pictures; None where no count was found.
SIZES = {800: 6493, 1600: 13377, 2400: 19777, 3200: None, 6000: None, 13164: None}


def load(root: str, size: int = 800) -> Splits:
    """The three tables, with the test list of `size` vehicles.

    Raises:
        InputError: the root, a list or a picture is missing; a line of a list is no pair.
    """
    home = _home(folders.checked_root(root), TEST_LIST.format(size))
    train = _read(home, TRAIN_LIST)
    test = _read(home, TEST_LIST.format(size))
    first: dict[int, tuple[str, int]] = {}
    for name, pid in test:
        first[pid] = min(first.get(pid, (name, pid)), (name, pid), key=_draw)
    gallery = sorted(first.values())
    chosen = set(gallery)
    query = [row for row in test if row not in chosen]
    return Splits(
        _table(home, train, NO_CAMERA),
        _table(home, query, QUERY_CAMERA),
        _table(home, gallery, GALLERY_CAMERA),
    )


def _draw(row: tuple[str, int]) -> bytes:
    return hashlib.blake2b(
        f"{SEED} {row[0]}".encode("utf-8", "surrogateescape"), digest_size=16
    ).digest()


def _home(root: str, test_list: str) -> str:
    wanted = [PICTURES, os.path.join(LISTS, TRAIN_LIST), os.path.join(LISTS, test_list)]
    places = [root, *(os.path.join(root, place) for place in PLACES)]
    missing = {
        place: [name for name in wanted if not listing.exists(os.path.join(place, name))]
        for place in places
    }
    place = min(places, key=lambda place: len(missing[place]))
    if missing[place]:
        above = os.path.dirname(os.path.abspath(root))
        whole = all(listing.exists(os.path.join(above, name)) for name in wanted)
        hint = f"; give {above} as `root`" if whole else ""
        raise InputError(
            f"{place} is not in the layout of VehicleID: it lacks {', '.join(missing[place])}; "
            f"expected {', '.join(wanted)} in the root or in {', '.join(PLACES)} below it; "
            f"it {folders.contents(place, PICTURES)}{hint}"
        )
    return place


def _read(home: str, name: str) -> list[tuple[str, int]]:
    """File name and vehicle of each picture of a list."""
    path = os.path.join(home, LISTS, name)
    rows = [(f"{number}.jpg", pid) for number, pid in listed.pairs(path, EXAMPLE_LINE)]
    listed.check_present(os.path.join(home, PICTURES), [file for file, _ in rows], path)
    return rows


def _table(home: str, rows: list[tuple[str, int]], camera: int) -> Table:
    media = [os.path.join(home, PICTURES, file) for file, _ in rows]
    pid = [pid for _, pid in rows]
    return table_of(media, pid, np.full(len(rows), camera), np.full(len(rows), -1))


def _about(name: str, size: int) -> DataSet:
    pictures = SIZES[size]
    below = ("", *(f"{place}/" for place in PLACES))
    wanted = (PICTURES, f"{LISTS}/{TRAIN_LIST}", f"{LISTS}/{TEST_LIST.format(size)}")
    return DataSet(
        name=name,
        aside=(("*image/*", "pictures outside this test set"),),
        title=f"VehicleID ({size} test vehicles)",
        load=functools.partial(load, size=size),
        kind="image",
        counts={
            "train": Count(113346, 13164),
            "query": Count(pictures - size if pictures else None),
            "gallery": Count(size, size),
        },
        markers=tuple("|".join(place + path for place in below) for path in wanted),
        tree=f"""
            ROOT or ROOT/VehicleID
              image/0000001.jpg
              train_test_split/train_list.txt                 lines: 0000001 17
              train_test_split/{TEST_LIST.format(size)}
        """,
        citation="Liu, Tian, Yang, Pang, Huang: Deep Relative Distance Learning: Tell the "
        "Difference Between Similar Vehicles. CVPR 2016",
        url="https://pkuml.org/resources/pku-vehicleid.html",
        license="research only",
        access="on request from the authors",
        note="Vehicles; no cameras. Numbers are those that the readers of FastReID and SpCL "
        "state. The gallery, one picture of each vehicle, is a fixed draw of this project: "
        "published results average over draws of their own.",
    )


DATASETS = (_about("vehicleid", 800), *(_about(f"vehicleid_{size}", size) for size in SIZES))

"""Labels that leave the page and come back: CSV of pictures, or JSON of clusters.

The JSON is that of `luperson cluster --json`: `clusters`, each with `cluster` and `keys`, and
`outliers`; names stand beside the numbers.
"""

import csv
import io
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from data_pipeline.errors import InputError
from data_pipeline.read import json_files, storage
from luperson_jax.page.gallery import Gallery
from luperson_jax.page.labelling import NOBODY, Labelling

COLUMNS = ("id", "key", "camera", "time", "identity", "name")
EXPECTED = (
    "expected a .csv with the columns key and identity, or the .json of this page or of "
    "`luperson cluster --json`"
)


def as_csv(gallery: Gallery, labelling: Labelling) -> str:
    """A line for every picture; frames of a tracklet have its identity."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    columns = gallery.pictures
    for row, item in enumerate(gallery.item):
        identity = int(labelling.labels[item])
        moment = columns.time[row]
        writer.writerow(
            [
                int(columns.id[row]),
                str(columns.key[row]),
                gallery.camera_name(int(columns.camera[row])),
                "" if np.isnat(moment) else str(moment.astype("datetime64[us]").item()),
                "" if identity == NOBODY else identity,
                labelling.names.get(identity, ""),
            ]
        )
    return stream.getvalue()


def as_json(gallery: Gallery, labelling: Labelling) -> str:
    """Clusters with their pictures, the largest first."""
    of_picture = labelling.labels[gallery.item]

    def keys(number: int) -> list[str]:
        return [str(one) for one in gallery.pictures.key[of_picture == number]]

    clusters = [
        {"cluster": number, "name": labelling.names.get(number, ""), "keys": keys(number)}
        for number in labelling.numbers()
    ]
    return json.dumps({"clusters": clusters, "outliers": keys(NOBODY)}, indent=2) + "\n"


def read(path: str, gallery: Gallery) -> Labelling:
    """Labels of a file for the items of a gallery; pictures that it does not name are nobody's. A
    tracklet has the identity of the first of its frames that has one.

    Raises:
        InputError: the file cannot be read, or names no picture of the gallery.
    """
    if pathlib.Path(path).suffix == ".json":
        identity, names = _of_json(path)
    else:
        identity, names = _of_csv(path)
    labels = np.full(len(gallery), NOBODY, np.int64)
    found = 0
    for key, item in zip(gallery.pictures.key, gallery.item, strict=True):
        number = identity.get(str(key), NOBODY)
        found += str(key) in identity
        if labels[item] == NOBODY:
            labels[item] = number
    if not found:
        raise InputError(f"{path} names no picture of this index; {EXPECTED}")
    return Labelling(labels, {one: name for one, name in names.items() if np.any(labels == one)})


def _of_json(path: str) -> tuple[Mapping[str, int], Mapping[int, str]]:
    about = json_files.read(pathlib.Path(path), EXPECTED)
    identity, names = {}, {}
    try:
        for one in about["clusters"]:
            number = _number(one["cluster"])
            identity |= dict.fromkeys(map(str, one["keys"]), number)
            if one.get("name"):
                names[number] = str(one["name"])
        identity |= dict.fromkeys(map(str, about["outliers"]), NOBODY)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}); {EXPECTED}") from error
    return identity, names


def _of_csv(path: str) -> tuple[Mapping[str, int], Mapping[int, str]]:
    identity, names = {}, {}
    try:
        text = storage.read(path).decode("utf-8-sig")
        for line in csv.DictReader(io.StringIO(text), strict=True):
            number = _number(line["identity"]) if line["identity"] else NOBODY
            identity[line["key"]] = number
            if line.get("name"):
                names[number] = line["name"]
    except (LookupError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error!r}); {EXPECTED}") from error
    return identity, names


def _number(given: object) -> int:
    number = int(str(given))
    if not 0 <= number < 1 << 62:
        raise ValueError(f"identity {number}")
    return number

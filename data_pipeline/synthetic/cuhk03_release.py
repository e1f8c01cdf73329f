"""The drawn world as the release of CUHK03: one Matlab file of all pictures, and protocol files."""

import io
import pathlib
from typing import Any

import numpy as np
import scipy.io

from data_pipeline.errors import InputError
from data_pipeline.synthetic import streams
from data_pipeline.synthetic.extent import Extent

NUM_PAIRS, NUM_SPLITS = 5, 20
VIEWS, CELLS_OF_A_VIEW = 2, 5
KINDS = ("labeled", "detected")

# Address of the random stream that divides the people; others use smaller ones.
TEST_SETS = 3

# Text in the first bytes of a Matlab file; SciPy would write the time of day there.
MATLAB_HEADER = b"MATLAB 5.0 MAT-file".ljust(116)


def write_cuhk03(root: pathlib.Path, extent: Extent) -> dict[str, int]:
    """CUHK03 (Li et al., DeepReID, 2014): cuhk-03.mat, which is HDF5, with the cell arrays
    `labeled`, `detected` and `testsets`; and the protocol of Zhong et al. (Re-ranking Person
    Re-identification, 2017). Each pair of cameras sees people of its own. `detected` lacks the last
    picture of the first person.

    Raises:
        InputError: more pictures of a view than the format holds, or h5py is missing.
    """
    per_view = extent.images_per_camera + 1
    if per_view > CELLS_OF_A_VIEW:
        raise InputError(
            f"images_per_camera={extent.images_per_camera}; CUHK03 has {CELLS_OF_A_VIEW} pictures "
            f"of a view and one is a query, give at most {CELLS_OF_A_VIEW - 1}"
        )
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "the layout cuhk03 needs h5py; pip install 'luperson_jax[mat]' or pip install h5py"
        ) from error
    names = {kind: _present(extent, kind) for kind in KINDS}
    with h5py.File(root / "cuhk-03.mat", "w") as file:
        for kind in KINDS:
            _write_pictures(file, extent, kind, set(names[kind]))
        _write_test_sets(file, extent)
    for kind in KINDS:
        columns = _protocol(extent, names[kind])
        _save_mat(root / f"cuhk03_new_protocol_config_{kind}.mat", columns)
    return {kind: len(names[kind]) for kind in KINDS}


def _people_of_pair(extent: Extent, pair: int) -> range:
    return range(pair, extent.identities, NUM_PAIRS)


def _name(pair: int, place: int, cell: int) -> str:
    """As the protocol names the pictures: pair, person, view and cell, all from 1."""
    return f"{pair + 1}_{place + 1:03d}_{cell // CELLS_OF_A_VIEW + 1}_{cell + 1:02d}.png"


def _present(extent: Extent, kind: str) -> dict[str, tuple[int, int]]:
    """Name -> (person, cell) of all pictures, in the order of the protocol."""
    present = {}
    for pair in range(NUM_PAIRS):
        for place, person in enumerate(_people_of_pair(extent, pair)):
            # A picture for the query stands only where the person is for testing.
            filled = extent.images_per_camera + (person in extent.test)
            for cell in range(VIEWS * CELLS_OF_A_VIEW):
                if cell % CELLS_OF_A_VIEW < filled:
                    present[_name(pair, place, cell)] = (person, cell)
    if kind == "detected":
        del present[max(name for name, (person, _) in present.items() if person == 0)]
    return present


def _write_pictures(file: Any, extent: Extent, kind: str, present: set[str]) -> None:
    import h5py

    store = file.create_group(f"#refs#/{kind}")
    pairs = np.empty((1, NUM_PAIRS), h5py.ref_dtype)
    for pair in range(NUM_PAIRS):
        people = _people_of_pair(extent, pair)
        cells = np.empty((VIEWS * CELLS_OF_A_VIEW, len(people)), h5py.ref_dtype)
        for place, person in enumerate(people):
            for cell in range(len(cells)):
                name = _name(pair, place, cell)
                if name in present:
                    view, instance = divmod(cell, CELLS_OF_A_VIEW)
                    frame = KINDS.index(kind)
                    picture = extent.world.render(person, VIEWS * pair + view, instance, frame)
                    array = store.create_dataset(name, data=picture.T)
                else:
                    # Matlab's way to store an empty array: its shape, and a mark.
                    array = store.create_dataset(name, data=np.zeros(2, np.uint64))
                    array.attrs["MATLAB_empty"] = np.uint8(1)
                cells[cell, place] = array.ref
        pairs[0, pair] = store.create_dataset(f"pair{pair}", data=cells, dtype=h5py.ref_dtype).ref
    file.create_dataset(kind, data=pairs, dtype=h5py.ref_dtype)


def _write_test_sets(file: Any, extent: Extent) -> None:
    import h5py

    store = file.create_group("#refs#/testsets")
    cells = np.empty((1, NUM_SPLITS), h5py.ref_dtype)
    for split in range(NUM_SPLITS):
        rng = streams.stream(extent.seed, streams.LAYOUT, TEST_SETS, split)
        people = np.sort(rng.permutation(extent.identities)[extent.num_train :])
        rows = np.array([[p % NUM_PAIRS + 1, p // NUM_PAIRS + 1] for p in people], np.float64)
        cells[0, split] = store.create_dataset(str(split), data=rows.T).ref
    file.create_dataset("testsets", data=cells, dtype=h5py.ref_dtype)


def _protocol(extent: Extent, present: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """The columns of a protocol file. Numbers of people and rows count from 1."""
    people = np.array([person for person, _ in present.values()])
    cells = np.array([cell for _, cell in present.values()])
    test = people >= extent.num_train
    query = test & (cells % CELLS_OF_A_VIEW == extent.images_per_camera)
    parts = {"train_idx": ~test, "query_idx": query, "gallery_idx": test & ~query}
    filelist = np.empty((len(present), 1), object)
    filelist[:, 0] = list(present)
    return {
        "filelist": filelist,
        "labels": (people + 1).astype(np.uint16)[:, None],
        "camId": (cells // CELLS_OF_A_VIEW + 1).astype(np.uint8)[:, None],
        **{
            name: (np.flatnonzero(rows) + 1).astype(np.uint16)[:, None]
            for name, rows in parts.items()
        },
    }


def _save_mat(path: pathlib.Path, columns: dict[str, np.ndarray]) -> None:
    file = io.BytesIO()
    scipy.io.savemat(file, columns)
    path.write_bytes(MATLAB_HEADER + file.getvalue()[len(MATLAB_HEADER) :])

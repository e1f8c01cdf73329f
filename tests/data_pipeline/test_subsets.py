import collections
import dataclasses
import itertools
import pathlib

import numpy as np
import pytest

from data_pipeline import subsets
from data_pipeline.errors import InputError
from data_pipeline.subsets import draw, export, lists
from data_pipeline.table import records
from data_pipeline.table.paths import Paths
from tests.subset_tables import TABLE, make_table, names_of, write

RATIOS = [percent / 10 for percent in range(1, 11)]
PUBLISHED = {
    "market1501": {
        "ids": [75, 150, 225, 300, 375, 450, 525, 600, 675, 751],
        "images": [1293, 2587, 3880, 5174, 6468, 7761, 9055, 10348, 11642, 12936],
    },
    "cuhk03_np/labeled": {
        "ids": [76, 153, 230, 306, 383, 460, 536, 613, 690, 767],
        "images": [767, 1473, 2210, 2947, 3684, 4420, 5157, 5894, 6631, 7368],
    },
}
SIZES = {
    # training images, identities: published counts of images from 10 % to 100 %
    (16522, 702): [1652, 3304, 4956, 6608, 8261, 9913, 11565, 13217, 14869, 16522],
    (32621, 1041): [3262, 6524, 9786, 13048, 16310, 19572, 22834, 26096, 29358, 32621],
    (7365, 767): [767, 1473, 2209, 2946, 3682, 4419, 5155, 5892, 6628, 7365],
}


@pytest.fixture(params=PUBLISHED)
def published(request, real_data):
    """Folder of the published lists of a set, their counts, and its training table."""
    folder = real_data / "protocols" / "luperson" / request.param
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist")
    # The list of all images tells the whole training set; the file name tells the identity.
    lines = (folder / "few_ims" / "used_ims_1.00.txt").read_text().split("\n")
    rows = [[part.strip() for part in line.split(";")] for line in lines if line.strip()]
    table = records.make_table(
        [(f"/data/{name}", int(name.split("_")[0]), int(camera), -1) for name, _, camera in rows]
    )
    return folder, PUBLISHED[request.param], table


def test_published_lists_have_their_counts_and_fit_the_training_set(published):
    folder, counts, table = published
    root = str(folder)
    of_ids = [subsets.ids(table, ratio, root) for ratio in RATIOS]
    assert [part.num_ids for part in of_ids] == counts["ids"]
    for part in of_ids:
        assert len(part) == np.isin(table.pid, part.pid).sum()
    of_images = [subsets.images(table, ratio, root) for ratio in RATIOS]
    assert [len(part) for part in of_images] == counts["images"]
    assert all(part.num_ids == table.num_ids for part in of_images)
    for subset, ratio in itertools.product(("ids", "images"), RATIOS):
        source = subsets.select(table, root, subset, ratio).source
        assert source.startswith(root)
        assert source.endswith(f"{ratio:.2f}.txt")


def test_published_ids_are_nested_and_images_are_not(published):
    folder, _, _ = published
    ids = [{*lists.read_ids(folder / lists.ids_file(ratio))} for ratio in RATIOS]
    assert all(small < large for small, large in itertools.pairwise(ids))
    images = [{*lists.read_images(folder / lists.images_file(ratio))} for ratio in RATIOS]
    assert not any(small < large for small, large in itertools.pairwise(images[:9]))


@pytest.mark.parametrize("published", ["market1501"], indirect=True)
def test_published_image_counts_of_the_small_scale_protocol(published):
    folder, _, table = published
    sizes = [len(subsets.ids(table, ratio, str(folder))) for ratio in (0.1, 0.3, 0.5, 0.7)]
    assert sizes == [1170, 3962, 6408, 9120]


def test_drawn_lists_share_images_out_as_the_published_ones_do(published):
    folder, counts, table = published
    for ratio, expected in zip(RATIOS, counts["images"], strict=True):
        theirs = subsets.images(table, ratio, str(folder))
        ours = subsets.images(table, ratio)
        assert len(ours) == expected
        shares = [
            sorted(collections.Counter(part.pid.tolist()).values()) for part in (theirs, ours)
        ]
        assert shares[0] == shares[1]
        if ratio < 1:
            assert names_of(theirs) != names_of(ours)
    assert [subsets.ids(table, ratio).num_ids for ratio in RATIOS] == counts["ids"]


def test_published_files_are_written_back_byte_for_byte(published, tmp_path):
    folder, _, table = published
    for ratio in (0.1, 0.7):
        name = lists.ids_file(ratio)
        lists.write_ids(tmp_path / name, lists.read_ids(folder / name))
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
        name = lists.images_file(ratio)
        rows = subsets.select(table, str(folder), "images", ratio).rows
        lists.write_images(tmp_path / name, lists.images_of(table, rows))
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("published", ["market1501"], indirect=True)
def test_the_inferred_rule_of_cmpe_gives_the_published_counts(published):
    folder, _, table = published
    finetune = subsets.apply(table, str(folder), "cmpe_finetune")
    assert (finetune.num_ids, len(finetune)) == (75, 1170)
    assert {*finetune.pid} == {*lists.read_ids(folder / "few_ids" / "used_ids_0.10.txt")}
    as_published = subsets.apply(table, str(folder), "cmpe_pretrain_published")
    assert (as_published.num_ids, len(as_published)) == (660, 11651)
    assert len({*as_published.pid} & {*finetune.pid}) == 64
    corrected = subsets.apply(table, str(folder), "cmpe_pretrain")
    assert (corrected.num_ids, len(corrected)) == (676, 12936 - 1170)


@pytest.mark.parametrize(("size", "counts"), SIZES.items())
def test_image_counts_of_the_sets_whose_lists_are_elsewhere(size, counts):
    num_images, num_ids = size
    pid = np.arange(num_images) % num_ids
    nothing = np.full(num_images, -1)
    table = records.table_of(map(str, range(num_images)), pid, nothing, nothing)
    assert [draw.num_images(table, ratio) for ratio in RATIOS] == counts


def test_counts_do_not_suffer_from_binary_fractions():
    table = make_table(dict.fromkeys(range(100), 1))
    assert int(100 * 0.29) == 28
    assert draw.num_ids(table, 0.29) == draw.num_images(table, 0.29) - 71 == 29


def test_images_are_drawn_in_turns():
    """A slow twin: deal one image to every identity that has one left until the count is full."""
    table = make_table({1: 1, 2: 2, 3: 9, 4: 30, 5: 30})
    for ratio in RATIOS:
        wanted = max(len(table) * round(ratio * 100) // 100, 5)
        left, dealt = collections.Counter(table.pid.tolist()), collections.Counter()
        while dealt.total() < wanted:
            hungry = [pid for pid in left if left[pid] > dealt[pid]]
            least = min(dealt[pid] for pid in hungry)
            dealt[next(pid for pid in hungry if dealt[pid] == least)] += 1
        found = collections.Counter(subsets.images(table, ratio).pid.tolist())
        assert sorted(found.values()) == sorted(dealt.values())
        assert all(found[pid] <= left[pid] for pid in left)


@pytest.mark.parametrize("subset", ["ids", "images"])
def test_drawn_subsets_are_nested(subset):
    drawn = [names_of(subsets.apply(TABLE, "", subset, ratio)) for ratio in RATIOS]
    assert all(small <= large for small, large in itertools.pairwise(drawn))
    assert len({len(part) for part in drawn}) > 5
    assert drawn[-1] == names_of(TABLE)


@pytest.mark.parametrize("subset", ["ids", "images"])
def test_a_draw_depends_on_names_and_seed_alone(subset):
    def drawn(table, seed=0):
        return names_of(subsets.apply(table, "", subset, 0.5, seed=seed))

    shuffled = TABLE.take(np.random.default_rng(0).permutation(len(TABLE)))
    moved = dataclasses.replace(TABLE, media=Paths.of(f"/else{path}" for path in TABLE.media))
    packed = dataclasses.replace(
        TABLE, media=Paths.of(f"array_record:x#{i}" for i in range(len(TABLE))), names=TABLE.media
    )
    assert drawn(TABLE) == drawn(shuffled) == drawn(moved)
    rows = subsets.select(TABLE, "", subset, 0.5).rows
    np.testing.assert_array_equal(subsets.select(packed, "", subset, 0.5).rows, rows)
    assert drawn(TABLE) != drawn(TABLE, seed=1)


def test_a_draw_is_for_ever():
    """Lists that were not kept must come out the same in later versions."""
    table = make_table(dict.fromkeys(range(20), 4))
    assert draw.draw_ids(table, 0.25, seed=0).tolist() == [3, 7, 9, 11, 18]
    drawn = sorted(names_of(subsets.images(table, 0.26)))
    assert drawn[:3] == ["0000_c1_03.jpg", "0001_c2_01.jpg", "0002_c3_02.jpg"]


def test_every_identity_is_drawn_about_equally_often():
    table = make_table(dict.fromkeys(range(20), 3))
    drawn = np.concatenate([draw.draw_ids(table, 0.5, seed) for seed in range(400)])
    # Binomial with 400 trials at 1/2: mean 200, standard deviation 10.
    assert np.abs(np.bincount(drawn) - 200).max() < 50
    extra = np.concatenate([subsets.images(table, 0.5, seed=seed).pid for seed in range(400)])
    assert np.abs(np.bincount(extra) - 600).max() < 50


def test_an_identity_with_one_image_keeps_it():
    table = make_table({1: 1, 2: 40, 3: 40})
    for ratio in (0.01, 0.1, 0.9):
        part = subsets.images(table, ratio)
        assert np.sum(part.pid == 1) == 1
        assert part.num_ids == 3
    assert len(subsets.images(table, 0.01)) == 3


def test_subsets_keep_identities_cameras_and_the_order_of_the_table():
    for subset in ("ids", "images", "cmpe_pretrain", "cmpe_pretrain_published"):
        part = subsets.apply(TABLE, "", subset, 1.0 if "cmpe" in subset else 0.4)
        row_of = {path: row for row, path in enumerate(TABLE.media)}
        rows = [row_of[path] for path in part.media]
        assert rows == sorted(rows)
        assert 0 < len(rows) < len(TABLE)
        np.testing.assert_array_equal(part.pid, TABLE.pid[rows])
        np.testing.assert_array_equal(part.camera, TABLE.camera[rows])


def test_nothing_chosen_is_the_whole_table():
    assert subsets.apply(TABLE) is TABLE
    assert subsets.select(TABLE).source == "all images"


def test_repeat_lists_every_image_so_often():
    part = subsets.apply(TABLE, "", "images", 0.4)
    times = subsets.apply(TABLE, "", "images", 0.4, repeat=3)
    assert collections.Counter(times.media) == {path: 3 for path in part.media}
    assert len(subsets.apply(TABLE, repeat=2)) == 2 * len(TABLE)


def test_a_set_without_identities_gives_a_share_of_its_images():
    table = dataclasses.replace(TABLE, pid=np.full_like(TABLE.pid, -1))
    small, large = (names_of(subsets.images(table, ratio)) for ratio in (0.1, 0.3))
    assert (len(small), len(large)) == (len(table) // 10, len(table) * 3 // 10)
    assert small < large
    with pytest.raises(InputError, match="goes by identities"):
        subsets.ids(table, 0.1)


def test_file_names_that_repeat_are_told_apart_by_their_folders(tmp_path):
    table = records.make_table([(f"/d/{p}/{i}.jpg", p, 0, -1) for p in (1, 2) for i in range(4)])
    assert sorted(draw.names(table))[0] == "1/0.jpg"
    (one,) = export.write(table, "images", [0.5], str(tmp_path))
    rows = subsets.select(table, str(tmp_path), "images", 0.5)
    assert rows.source == str(one.path)
    np.testing.assert_array_equal(rows.rows, subsets.select(table, "", "images", 0.5).rows)


@pytest.mark.parametrize("text", ["2 \n5 \n\n8 \n", "2\r\n5  \r\n8\r\n\r\n", "\ufeff2\n# x\n5\n8"])
def test_lists_of_identities_are_read_however_lines_end(tmp_path, text):
    assert lists.read_ids(write(tmp_path / "ids.txt", text)) == [2, 5, 8]


def test_lists_of_images_are_read_however_lines_end(tmp_path):
    text = "a;b.jpg; 0; 1 \r\n\r\n c.jpg ;3;2\n   \n"
    found = lists.read_images(write(tmp_path / "ims.txt", text))
    assert found == [lists.Image("a;b.jpg", 0, 1), lists.Image("c.jpg", 3, 2)]


def test_a_list_of_images_names_none_twice(tmp_path):
    path = write(tmp_path / "ims.txt", "a.jpg; 0; 1\nb.jpg; 0; 0\na.jpg; 0; 1\n")
    with pytest.raises(InputError, match=r"names the image a\.jpg twice"):
        lists.read_images(path)


@pytest.mark.parametrize("below", ["", "market1501", "a/b"])
def test_lists_beside_the_data_are_found_and_followed(tmp_path, below):
    root = tmp_path / below
    folder = str(root / "bounding_box_train")
    table = make_table({pid: 2 for pid in range(10)}, folder)
    path = write(root / "few_ids" / "used_ids_0.20.txt", "3 \n8 \n")
    assert {*subsets.ids(table, 0.2, str(tmp_path)).pid} == {3, 8}
    assert subsets.select(table, str(tmp_path), "ids", 0.2).source == path
    assert "drawn with seed 4" in subsets.select(table, str(tmp_path), "ids", 0.3, seed=4).source
    assert "drawn" in subsets.select(table, "", "ids", 0.2).source
    other = write(tmp_path / "other.txt", "1\n2\n")
    assert {*subsets.ids(table, 0.2, str(tmp_path), list_path=other).pid} == {1, 2}


def test_a_list_of_images_is_followed(tmp_path):
    table = make_table({4: 2, 9: 3})
    text = "0009_c1_00.jpg; 1; 0 \r\n0004_c2_01.jpg; 0; 1 \r\n"
    path = write(tmp_path / "few_ims" / "used_ims_0.20.txt", text)
    assert names_of(subsets.images(table, 0.2, str(tmp_path))) == {
        "0009_c1_00.jpg",
        "0004_c2_01.jpg",
    }
    assert pathlib.Path(path).read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 \n", "has 1 lines; expected 2 of the 20 identities"),
        ("2 \n5 \n8 \n", "has 3 lines; expected 2"),
        ("2 \n3 \n", "names 1 identities that the data set lacks: 3"),
        ("2 \n2 \n", "names the identity 2 twice"),
        ("2 \nabc \n", "line 2 is 'abc'; expected an identity"),
        (" \n\n", "is empty"),
    ],
)
def test_unfit_lists_of_identities_are_refused_and_left_alone(tmp_path, text, message):
    path = pathlib.Path(write(tmp_path / "few_ids" / "used_ids_0.10.txt", text))
    with pytest.raises(InputError, match=message):
        subsets.ids(TABLE, 0.1, str(tmp_path))
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0004_c1_00.jpg; 0; 0", "has 1 lines; expected 2 of the 5 images"),
        ("0004_c1_00.jpg; 0; 0\n0007_c1_00.jpg; 1; 0", "names 1 images that the data set lacks"),
        ("0004_c1_00.jpg; 0; 0\n0004_c1_00.jpg; 0; 0", "the image 0004_c1_00.jpg twice"),
        ("0004_c1_00.jpg; 0; 0\nx/0004_c1_00.jpg; 0; 0", "the image 0004_c1_00.jpg twice"),
        ("0004_c1_00.jpg; 0; 0\n0009_c1_00.jpg; 0; 0", "label 0 and camera 0; in the data set"),
        ("0004_c1_00.jpg; 0; 0\n0009_c1_00.jpg; 1; 1", "has 1 and 0"),
        ("0004_c1_00.jpg; 0", "line 1 is .*; expected `name; label; camera`"),
        ("0004_c1_00.jpg; 0; 0\n; 1; 0", "line 2"),
    ],
)
def test_unfit_lists_of_images_are_refused(tmp_path, text, message):
    path = write(tmp_path / "ims.txt", text)
    with pytest.raises(InputError, match=message):
        subsets.images(make_table({4: 2, 9: 3}), 0.2, list_path=path)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.1, 0.004, 0.125, float("nan"), float("inf")])
@pytest.mark.parametrize("subset", ["ids", "images"])
def test_ratios_out_of_range_are_refused(subset, ratio):
    with pytest.raises(InputError, match="ratio"):
        subsets.apply(TABLE, "", subset, ratio)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subset": "imgaes", "ratio": 0.1}, "did you mean 'images'"),
        ({"ratio": 0.1}, "say nothing without `subset`"),
        ({"list_path": "x.txt"}, "say nothing without `subset`"),
        ({"subset": "cmpe_pretrain", "ratio": 0.9}, "has its own"),
        ({"subset": "ids", "ratio": 0.04}, "of 20 identities is less than one"),
        ({"subset": "ids", "ratio": 0.1, "list_path": "/nowhere/x.txt"}, "cannot be read"),
        ({"repeat": 0}, "`repeat` is 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        subsets.apply(TABLE, **settings)


def test_frames_of_tracklets_are_not_torn_apart():
    table = dataclasses.replace(TABLE, track=TABLE.pid)
    assert subsets.ids(table, 0.5).num_ids == 10
    for settings in ({"subset": "images", "ratio": 0.5}, {"repeat": 2}):
        with pytest.raises(InputError, match="frames of tracklets"):
            subsets.apply(table, **settings)


def test_partly_labelled_and_empty_tables_are_refused():
    partly = dataclasses.replace(TABLE, pid=np.where(TABLE.pid == 2, -1, TABLE.pid))
    for subset, table in itertools.product(("ids", "images"), (partly, records.empty_table())):
        with pytest.raises(InputError, match=r"have none|without images"):
            subsets.apply(table, "", subset, 0.5)


def test_lists_of_one_of_several_folders_are_refused(tmp_path):
    write(tmp_path / "a" / "few_ids" / "used_ids_0.10.txt", "2 \n5 \n")
    with pytest.raises(InputError, match="one of several folders"):
        subsets.ids(TABLE, 0.1, f"{tmp_path}/a, {tmp_path}/b")
    assert subsets.ids(TABLE, 0.2, f"{tmp_path}/a,{tmp_path}/b").num_ids == 4

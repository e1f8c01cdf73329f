import numpy as np
from PIL import Image

from data_pipeline.read import picture_sizes


def test_sizes_are_read_at_even_distances_whatever_the_format(tmp_path):
    media = []
    for number, suffix in enumerate(("jpg", "png", "bmp", "jpg", "webp")):
        media.append(str(tmp_path / f"{number}.{suffix}"))
        Image.new("RGB", (10 + number, 30 + number)).save(media[-1])
    assert picture_sizes.sample(media, 9).tolist() == [[30 + n, 10 + n] for n in range(5)]
    assert picture_sizes.sample(media, 3).tolist() == [[30, 10], [32, 12], [34, 14]]


def test_what_has_no_size_is_left_out(tmp_path):
    good, text, empty, missing = (str(tmp_path / f"{number}.jpg") for number in range(4))
    Image.new("RGB", (4, 8)).save(good)
    (tmp_path / "1.jpg").write_text("no picture")
    (tmp_path / "2.jpg").touch()
    assert picture_sizes.sample([text, good, empty, missing], 9).tolist() == [[8, 4]]
    assert picture_sizes.sample([empty], 9).shape == (0, 2)
    assert picture_sizes.sample([], 9).shape == (0, 2)
    assert picture_sizes.sample([good], 9).dtype == np.int64

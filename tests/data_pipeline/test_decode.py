import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from data_pipeline.errors import InputError
from data_pipeline.read import storage
from data_pipeline.read.decode import DecodeError, bilinear_tf1, decode, to_canvas


def picture(height=40, width=24, seed=0):
    """A smooth random picture, so that JPEG keeps it nearly as it is."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 3, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR))


def encoded(pixels, format="PNG", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM"])
def test_lossless_formats_come_back_exactly(format):
    np.testing.assert_array_equal(decode(encoded(picture(), format)), picture())


def test_jpeg_agrees_with_pillow():
    data = encoded(picture(), "JPEG", quality=95)
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(decode(data).astype(int) - pillow).max() <= 2
    assert np.abs(decode(data).astype(int) - picture()).mean() < 4


def test_gray_becomes_three_equal_channels():
    gray = picture()[..., 0]
    np.testing.assert_array_equal(decode(encoded(gray)), np.stack([gray] * 3, -1))
    jpeg = decode(encoded(gray, "JPEG"))
    assert jpeg.shape == (40, 24, 3)
    np.testing.assert_array_equal(jpeg[..., 0], jpeg[..., 2])


def test_alpha_is_dropped_and_the_color_under_it_kept():
    alpha = np.zeros((40, 24, 1), np.uint8)
    np.testing.assert_array_equal(
        decode(encoded(np.concatenate([picture(), alpha], -1))), picture()
    )


def test_transparent_palette_keeps_its_colors():
    image = Image.fromarray(picture()).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(encoded(image)), expected)
    np.testing.assert_array_equal(decode(encoded(image, transparency=bytes(16))), expected)


def test_sixteen_bits_keep_the_high_byte():
    wide = np.random.default_rng(0).integers(0, 65536, (40, 24), dtype=np.uint16)
    np.testing.assert_array_equal(decode(encoded(wide))[..., 1], wide >> 8)


def test_cmyk_jpeg_agrees_with_pillow():
    data = encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(decode(data).astype(int) - pillow).max() <= 2


def test_exif_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(picture(), "JPEG", exif=exif)).shape == (40, 24, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is a text file", "not a picture"),
        (encoded(picture(), "JPEG")[:-60], "damaged JPEG"),
        (encoded(picture(), "JPEG")[:30], "damaged JPEG"),
        (encoded(picture())[:-60], "damaged file"),
        (encoded(picture())[:20], "damaged file|not a picture"),
        (encoded(Image.fromarray(picture()[..., 0].astype(np.float32)), "TIFF"), "floating"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not a picture"),
    ],
)
def test_bad_data_is_an_error_that_names_the_file(data, reason):
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(data, "dir/0001_c1.jpg")
    assert isinstance(caught.value, InputError)
    assert "dir/0001_c1.jpg" in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)


def claiming(format, height, width):
    """A small picture whose header claims another size."""
    data = bytearray(encoded(picture(), format))
    if format == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif format == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif format == "PPM":
        data = bytearray(f"P6 {width} {height} 255\n".encode()) + data[-10:]
    return bytes(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "PPM"])
@pytest.mark.parametrize("size", [(65500, 65500), (8192, 8193), (11000, 10000)])
def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(format, size, monkeypatch):
    data = claiming(format, *size)

    def decoded(*_, **__):
        raise AssertionError("memory for the pixels was taken")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decoded)
    monkeypatch.setattr(Image.Image, "convert", decoded)
    with pytest.raises(DecodeError, match=r"a\.jpg: its header claims") as caught:
        decode(data, "a.jpg")
    assert str(size[0] * size[1]) in str(caught.value)


def test_the_largest_picture_is_one_of_the_limit(monkeypatch):
    monkeypatch.setattr("data_pipeline.read.decode.MAX_PIXELS", 40 * 24)
    for format in ("JPEG", "PNG"):
        assert decode(encoded(picture(), format)).shape == (40, 24, 3)
        with pytest.raises(DecodeError, match="claims 41 x 24"):
            decode(encoded(picture(41), format))


def test_no_memory_for_a_picture_is_a_message(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    with pytest.raises(DecodeError):
        decode(encoded(picture(), "JPEG"))


def test_damage_inside_a_jpeg_is_an_error():
    data = bytearray(
        encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "JPEG")
    )
    middle = len(data) // 2
    data[middle : middle + 2] = b"\xff\xd9"
    with pytest.raises(DecodeError):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("name", "filter"),
    [("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)],
)
def test_canvas_is_pillows_resize(name, filter):
    canvas = to_canvas(picture(), (16, 8), name)
    assert canvas.shape == (16, 8, 3)
    expected = np.asarray(Image.fromarray(picture()).resize((8, 16), filter))
    np.testing.assert_array_equal(canvas, expected)


def tf1_by_loops(image, height, width):
    """Every output pixel by itself, from its four neighbors."""
    found = np.empty((height, width, 3))
    for i, j in np.ndindex(height, width):
        y, x = i * image.shape[0] / height, j * image.shape[1] / width
        top, left = int(y), int(x)
        bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
        corners = image[[top, top, bottom, bottom], [left, right, left, right]].astype(float)
        weights = np.outer([1 - (y - top), y - top], [1 - (x - left), x - left]).ravel()
        found[i, j] = weights @ corners
    return found


@pytest.mark.parametrize("size", [(80, 48), (16, 8), (7, 50), (40, 24), (1, 1)])
def test_the_filter_of_tensorflow_1_by_loops(size):
    expected = tf1_by_loops(picture(), *size)
    np.testing.assert_allclose(bilinear_tf1(picture(), size), expected, rtol=0, atol=1e-3)
    canvas = to_canvas(picture(), size, "bilinear_tf1")
    assert canvas.dtype == np.uint8
    np.testing.assert_allclose(canvas, expected, rtol=0, atol=0.5 + 1e-3)
    if size == (80, 48):  # half a pixel of the source beside the centered filters
        assert np.abs(to_canvas(picture(), size, "bilinear") - expected).max() > 2


def test_the_filter_of_tensorflow_1_gives_its_stored_values(golden):
    stored = np.load(golden / "methods" / "tf_legacy_resize.npz")
    for number in range(4):
        expected = stored[f"out{number}"]
        found = bilinear_tf1(stored[f"im{number}"], expected.shape[:2]) / 127.5 - 1
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_canvas_of_the_same_size_changes_nothing():
    np.testing.assert_array_equal(to_canvas(picture(), (40, 24)), picture())


def test_unknown_filter():
    with pytest.raises(InputError, match="bilinear"):
        to_canvas(picture(), (40, 24), "cubic")


def test_storage_reads_bytes_and_names_a_missing_file(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"\x00\x01")
    assert storage.read(str(path)) == b"\x00\x01"
    with pytest.raises(InputError, match="missing"):
        storage.read(str(tmp_path / "missing.jpg"))

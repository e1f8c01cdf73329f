"""Tiny videos whose pixels tell where and when they are, and detections in them."""

import pathlib
import pickle

import numpy as np
import pytest

from data_pipeline.read.decode import decode

av = pytest.importorskip("av", reason="videos are written with PyAV: pip install av")

WIDTH, HEIGHT = 64, 48
FRAMES = 30
LEVELS = np.array([8.0, 10.0, 8.0])  # of a pixel to the right, a pixel down, a frame later
# A key frame every ten, and no frames that refer to later ones.
PLAIN = {"gop_size": 10, "max_b_frames": 0, "bit_rate": 4_000_000, "qmin": 1, "qmax": 2}
SETTINGS = {
    "libx264": {"x264-params": "scenecut=0:b-adapt=0"},
    "libx265": {"x265-params": "scenecut=0:b-adapt=0:open-gop=0:log-level=none:pools=none"},
}


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Frame `number`: red goes up and down to the right, green downwards, blue with time."""
    down, right = np.mgrid[:height, :width] * WIDTH / width
    steps = np.stack([right, down, np.full_like(down, number)], axis=-1) * LEVELS
    return (255 - abs(255 - steps % 510)).astype(np.uint8)


def write_clip(
    path: pathlib.Path, codec: str = "mpeg4", numbers=range(FRAMES), size=(WIDTH, HEIGHT), **coder
) -> pathlib.Path:
    """A video of `picture`s. MP4 files have their index in front, as those made for the web do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.options = SETTINGS.get(codec, {})
        for name, value in {**PLAIN, **coder}.items():
            setattr(stream.codec_context, name, value)
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets(path: pathlib.Path) -> list[tuple[int, int, int]]:
    """Position, size and time of the packets in a file."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size, p.pts) for p in container.demux(video=0) if p.size]


def overwrite(path: pathlib.Path, start: int, data: bytes) -> None:
    """Damages a file."""
    content = bytearray(path.read_bytes())
    content[start : start + len(data)] = data
    path.write_bytes(content)


def write_detections(path: pathlib.Path, frames: dict) -> None:
    """`{frame: [(object, box) or (object, box, pid)]}` as LUPerson's pickles have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        frame: [
            (entry[0], {"bbox": np.array(entry[1], np.float32)} | dict(zip(["pid"], entry[2:])))  # noqa: B905
            for entry in entries
        ]
        for frame, entries in frames.items()
    }
    path.write_bytes(pickle.dumps(content))


def assert_shows(pixels: np.ndarray, number: int, box=(0, 0, WIDTH, HEIGHT), scale: int = 1):
    """The pixels are those of a box of frame `number`, to less than half a pixel of `picture` and
    half a frame. `scale`: how many times larger than `picture` the frame is."""
    left, top, right, bottom = box
    assert pixels.shape == (bottom - top, right - left, 3)
    expected = picture(number, WIDTH * scale, HEIGHT * scale)[top:bottom, left:right]
    off = abs(pixels.astype(float) - expected).mean(axis=(0, 1))
    assert (off < LEVELS / 2).all(), off


def assert_file_shows(path: pathlib.Path, number: int, box, scale: int = 1) -> None:
    """The same of a JPEG file."""
    assert_shows(decode(path.read_bytes(), str(path)), number, box, scale)


def tree(root: pathlib.Path) -> dict[str, bytes]:
    """All files below a folder and their contents."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

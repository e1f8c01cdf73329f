"""Frames of a video by their number, decoded from the first to the last that is wanted.

Seeking to every frame, as LUPerson's scripts do, is slow and lands on neighbors in many videos.
"""

import bisect
import collections
import dataclasses
import functools
import importlib
import importlib.util
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from data_pipeline.errors import InputError

Picture = Callable[[], np.ndarray]
"""Makes the [H, W, 3] uint8 RGB pixels of a decoded frame. It costs time, so only on demand."""


def backend() -> str:
    """What decodes videos here: "av" (PyAV) or else "opencv".

    Raises:
        InputError: neither is installed.
    """
    for name, module in (("av", "av"), ("opencv", "cv2")):
        if importlib.util.find_spec(module):
            return name
    raise InputError(
        "decoding videos needs PyAV, which is not installed; pip install 'luperson_jax[video]' "
        "(or pip install av)"
    )


def frames(
    path: str, wanted: Collection[int], decoder: str | None = None
) -> Iterator[tuple[int, np.ndarray | None]]:
    """The wanted frames of a video in ascending order.

    Args:
        path: the file.
        wanted: numbers of frames, from 0, in the order in which they are shown.
        decoder: a key of `DECODERS`; the default is `backend()`. "opencv" cannot tell damaged
            frames from good ones.

    Yields:
        The number and the [H, W, 3] uint8 RGB pixels, turned as a player would; None for a frame
        that is damaged. Numbers beyond the end of the video do not come.

    Raises:
        InputError: the file cannot be opened as a video.
    """
    ahead = collections.deque(sorted(set(wanted)))
    assert not ahead or ahead[0] >= 0
    if not ahead:
        return
    for number, picture in DECODERS[decoder or backend()](path):
        while ahead and ahead[0] < number:
            yield ahead.popleft(), None
        if ahead and ahead[0] == number:
            yield ahead.popleft(), picture() if picture else None
        if not ahead:
            return


def _by_av(path: str) -> Iterator[tuple[int, Picture | None]]:
    """All frames that come out of PyAV's decoder, None in place of damaged ones.

    After damage, frames are missing, and counting what comes out would number all later ones
    wrongly; those up to the next key frame are drawn over pixels that are not there. The times of
    the packets tell how many are missing.
    """
    av = importlib.import_module("av")
    try:
        container = av.open(path)
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"cannot open the video {path}: {error.strerror}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path} has no pictures, only {len(container.streams)} other streams")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # videos are decoded side by side, not frames
        # Otherwise some decoders leave damaged frames out without a word.
        stream.codec_context.options = {"err_detect": "explode"}
        numbering, damage = _Numbering(), _Damage()
        for packet in _packets(container, stream):
            numbering.expect(packet.pts)
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                damage.add(packet.pts, numbering.waiting)
                continue
            for frame in decoded:
                number = numbering.number(frame.pts, damage.ever)
                if damage.ever and not numbering.by_time:
                    return
                yield number, None if damage.hits(frame) else functools.partial(_pixels, frame)


@dataclasses.dataclass
class _Numbering:
    """Numbers of frames in the order in which they are shown.

    Attributes:
        waiting: times of packets whose frames have not come out, ascending.
        by_time: every packet so far gave one frame, with the packet's time. Without that nothing
            tells how many frames are missing after damage.
        last: number of the last frame that came out.
    """

    waiting: list[int] = dataclasses.field(default_factory=list)
    by_time: bool = True
    last: int = -1

    def expect(self, time: int | None) -> None:
        if time is not None:
            bisect.insort(self.waiting, time)

    def number(self, time: int | None, after_damage: bool) -> int:
        first = -1 if time is None else bisect.bisect_left(self.waiting, time)
        found = time is not None and self.waiting[first : first + 1] == [time]
        if after_damage:
            self.last += max(first, 0)
        if not found or (first and not after_damage):
            self.by_time = False
        self.waiting = self.waiting[max(first, 0) + found :]
        self.last += 1
        return self.last


@dataclasses.dataclass
class _Damage:
    """Which frames are not to be trusted.

    Attributes:
        ever: packets were lost.
        lasting: no key frame has come out since.
        time: of the last packet that was lost.
        untouched: times of frames that were decoded before and come out after it.
    """

    ever: bool = False
    lasting: bool = False
    time: int = -1
    untouched: tuple[int, ...] = ()

    def add(self, time: int | None, waiting: list[int]) -> None:
        if not self.lasting:
            self.untouched = tuple(one for one in waiting if one != time)
        self.ever = self.lasting = True
        self.time = self.time if time is None else max(time, self.time)

    def hits(self, frame: Any) -> bool:
        if frame.is_corrupt:
            self.lasting = True
        elif frame.key_frame and (frame.pts is None or frame.pts > self.time):
            self.lasting = False
        return self.lasting and (frame.is_corrupt or frame.pts not in self.untouched)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream as far as the file goes."""
    av = importlib.import_module("av")
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        yield packet


def _pixels(frame: Any) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, frame.rotation // 90) if frame.rotation else pixels


def _by_opencv(path: str) -> Iterator[tuple[int, Picture | None]]:
    """All frames that come out of OpenCV's decoder."""
    cv2 = importlib.import_module("cv2")
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise InputError(f"cannot open the video {path}: OpenCV does not tell why")
    try:
        number = 0
        while capture.grab():
            yield number, lambda: np.ascontiguousarray(capture.retrieve()[1][:, :, ::-1])
            number += 1
    finally:
        capture.release()


DECODERS: dict[str, Callable[[str], Iterator[tuple[int, Picture | None]]]] = {
    "av": _by_av,
    "opencv": _by_opencv,
}

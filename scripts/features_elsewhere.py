"""Features by another program, of a network that `luperson export` wrote.

    python scripts/features_elsewhere.py PROGRAM FILE PICTURES OUT.npz

It runs where that program is installed and this one is not; `scripts/check_export.py` calls it. In
PICTURES lie N pictures, 000.png and so on. OUT.npz gets `features` [N, D] and `versions`. PROGRAM
is onnx, torch, stablehlo, boxmot, ultralytics or reid. The last three read, cut, resize and
normalize by themselves, through the door that their trackers use; the others are given pictures of
the size of the network.
"""

import importlib.metadata
import json
import pathlib
import sys
import warnings

import numpy as np

PACKAGES = {
    "onnx": ("onnxruntime",),
    "torch": ("torch",),
    "stablehlo": ("jax",),
    "boxmot": ("boxmot", "onnxruntime", "torch"),
    "ultralytics": ("ultralytics", "onnxruntime", "torch"),
    "reid": ("reid", "timm", "torch"),
}
"""Whose versions are told."""
GAIN, PAD = 1.02, 10
"""Ultralytics widens every box by so much, and by so many pixels."""


def arrays(folder):
    """The pictures, uint8 [H, W, 3] in RGB."""
    image = importlib.import_module("PIL.Image")
    return [np.asarray(image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]


def by_onnx(file, folder):
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["features"], {"images": np.stack(arrays(folder))})[0]


def by_torch(file, folder):
    torch = importlib.import_module("torch")
    pictures = np.stack(arrays(folder)).transpose(0, 3, 1, 2)
    return torch.jit.load(file)(torch.from_numpy(np.ascontiguousarray(pictures))).numpy()


def by_stablehlo(file, folder):
    export = importlib.import_module("jax.export")
    network = export.deserialize(bytearray(pathlib.Path(file).read_bytes()))
    return np.asarray(network.call(np.stack(arrays(folder))))


def by_boxmot(file, folder):
    core = importlib.import_module("boxmot.reid.core")
    network = core.ReID(file, device="cpu")
    frame, boxes = in_a_frame(arrays(folder))
    return network(frame, boxes)


def by_ultralytics(file, folder):
    trackers = importlib.import_module("ultralytics.trackers.utils.reid")
    frame, boxes = in_a_frame(arrays(folder))
    left, top, right, bottom = boxes.T
    # Boxes that are the pictures once they are widened; the share of a pixel keeps rounding away.
    wide, high = (right - left - PAD) / GAIN, (bottom - top - PAD) / GAIN
    centers = np.stack([(left + right) / 2 + 0.3, (top + bottom) / 2 + 0.3, wide, high], 1)
    return np.stack(trackers.ReID(file, device="cpu")(frame, centers))


def by_reid(file, folder):
    reid, torch = importlib.import_module("reid"), importlib.import_module("torch")
    program = pathlib.Path(file, "network.torchscript")
    given = {"architecture": torch.jit.load(program)} if program.exists() else {}
    network = reid.ReIDModel.from_pretrained(file, device="cpu", **given)
    return network.extract_embeddings_from_paths(sorted(map(str, folder.glob("*.png"))))


def in_a_frame(pictures):
    """Pictures side by side on gray, in BGR, and their boxes [N, 4]: left, top, right, bottom."""
    edge = 16
    height = max(len(one) for one in pictures) + 2 * edge
    width = sum(one.shape[1] + edge for one in pictures) + edge
    frame, boxes, left = np.full((height, width, 3), 128, np.uint8), [], edge
    for one in pictures:
        high, wide = one.shape[:2]
        frame[edge : edge + high, left : left + wide] = one[..., ::-1]
        boxes.append((left, edge, left + wide, edge + high))
        left += wide + edge
    return frame, np.array(boxes, np.float32)


def main():
    program, file, folder, out = sys.argv[1:]
    warnings.simplefilter("ignore")  # of the packages, about TorchScript and names
    features = globals()[f"by_{program}"](file, pathlib.Path(folder))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES[program]}
    np.savez(out, features=np.asarray(features, np.float32), versions=json.dumps(versions))


if __name__ == "__main__":
    main()

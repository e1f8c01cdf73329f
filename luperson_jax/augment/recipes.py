"""The named augmentations of the papers, and the one function that applies any of them.

A recipe is data: which operations, how strong, how often. The order is fixed:

    AutoAugment, crop (or resize), flip, pad and crop, affine, jitter, grayscale, blur, AugMix,
    erase in 0..255, normalize, erase in normalized values.

AutoAugment sees the canvas: a picture that has been resized already, where its publications apply
it to the original. The two differ in what a shear or rotation does to a squeezed picture, and in a
histogram of fewer pixels.

Pre-training recipes are published with the flip after the blur. A mirror commutes with jitter,
grayscale and blur, so the result is the same; up here it reads pixels that are in memory anyhow,
while after the blur the compiler would compute every tap twice.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from data_pipeline.errors import InputError, suggest
from luperson_jax.augment.augmix import REID_OPERATIONS, AugMix, random_augmix
from luperson_jax.augment.color import (
    Blur,
    Jitter,
    color_jitter,
    random_blur,
    random_grayscale,
)
from luperson_jax.augment.erase import Erase, random_erase
from luperson_jax.augment.geometry import (
    Affine,
    Crop,
    Interpolation,
    pad_and_crop,
    random_affine,
    random_flip,
    random_resized_crop,
    resize,
)
from luperson_jax.augment.operations import Color
from luperson_jax.augment.policy import AutoAugment, random_policy

Found = TypeVar("Found")


Colors = Color | Float[Array, "b 3"] | Float[Array, "3"]
"""Red, green and blue, of all pictures or of each."""


class Statistics(NamedTuple):
    """Mean and standard deviation of red, green and blue, in 0..1."""

    mean: Color
    std: Color


@dataclasses.dataclass(frozen=True)
class ViewLaw:
    """How a view of a picture is drawn; None or 0 leaves an operation out at no cost.

    Attributes:
        auto_augment: learned pairs of operations.
        crop: random resized crop; None resizes the whole canvas.
        interpolation: filter of that plain resize.
        pad: zeros on every side before a crop of the old size, in output pixels.
        affine: random affine map.
        jitter: color jitter.
        grayscale: probability of losing the color.
        blur: Gaussian blur.
        flip: probability of mirroring left and right.
        augmix: mixture with random chains of operations.
        erase: random erasing.
    """

    auto_augment: AutoAugment | None = None
    crop: Crop | None = None
    interpolation: Interpolation = "bicubic"
    pad: int = 0
    affine: Affine | None = None
    jitter: Jitter | None = None
    grayscale: float = 0.0
    blur: Blur | None = None
    flip: float = 0.0
    augmix: AugMix | None = None
    erase: Erase | None = None


def _of_levels(mean: Color, std: Color) -> Statistics:
    """From gray levels 0..255."""
    red, green, blue, *deviations = (level / 255.0 for level in (*mean, *std))
    return Statistics((red, green, blue), (deviations[0], deviations[1], deviations[2]))


IMAGENET_COLOR = (123.675, 116.28, 103.53)
"""The mean of ImageNet in gray levels."""

_IMAGENET = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

STATISTICS: Mapping[str, Statistics] = MappingProxyType(
    {
        # LUPerson's own pictures; the released MoCo weights expect them.
        "lup": Statistics((0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505)),
        # LUPerson-NL by the thresholds of its tracklets; 200_20 is the released set.
        "lmdb_200_20": Statistics((0.3452, 0.3070, 0.3114), (0.2633, 0.2500, 0.2480)),
        "lmdb_300_30": Statistics((0.3463, 0.3077, 0.3120), (0.2648, 0.2512, 0.2492)),
        "lmdb_100_10": Statistics((0.3446, 0.3067, 0.3111), (0.2616, 0.2487, 0.2466)),
        # Called "imagenet" in LUPerson's code; not the statistics of ImageNet.
        "lup_imagenet": Statistics((0.3430, 0.3080, 0.3220), (0.2520, 0.2400, 0.2430)),
        "imagenet": _IMAGENET,
        # What LUPerson's fine-tuning sets for its own weights. The deviation of red looks like a
        # slip (0.2660 * 255 is 67.83); it stays, because fine-tuned models were trained with it.
        # For LUPerson-NL and ImageNet the numbers there are those of the entries above.
        "lup_finetune": _of_levels((89.896, 79.200, 80.073), (63.872, 64.305, 63.839)),
        # For weights pre-trained on CUHK03, Market-1501, DukeMTMC and MSMT17.
        "cmdm": _of_levels((83.022, 77.974, 80.642), (66.372, 63.468, 60.974)),
        # The strong baselines (BoT, AGW, SBS) and MGN from ImageNet weights.
        "bot": _IMAGENET,
        # What TensorFlow-slim feeds its networks: -1 to 1, and gray levels without the mean.
        "slim_mobilenet": Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "slim_resnet": _of_levels((123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    }
)


def _lup(jitter: float = 0.0, gray: float = 0.2, blur: float = 0.5, erase: float = 0.0) -> ViewLaw:
    """LUPerson's family: strength of the jitter, two probabilities, greatest erased area."""
    return ViewLaw(
        crop=Crop(),
        jitter=Jitter(jitter, jitter, jitter, 0.1, probability=0.8) if jitter else None,
        grayscale=gray,
        blur=Blur(probability=blur) if blur else None,
        flip=0.5,
        erase=Erase(area=(0.02, erase)) if erase else None,
    )


_REID_CROP = Crop(
    area=(0.64, 1.0),
    aspect=(2.0, 3.0),
    spacing="linear",
    fallback="whole",
    interpolation="bicubic",
)
_REID = ViewLaw(crop=_REID_CROP, flip=0.5, erase=Erase())
_WEAK = ViewLaw(pad=10, flip=0.5)
_FINETUNE = dataclasses.replace(_WEAK, erase=Erase(space="raw"))
_FASTREID = dataclasses.replace(
    _WEAK,
    erase=Erase(
        area=(0.02, 0.33), aspect=(0.3, 3.3), spacing="log", space="raw", fill=IMAGENET_COLOR
    ),
)
_AFFINE = Affine(probability=0.5, degrees=10.0, translate=(0.05, 0.15), scale=(0.9, 1.1), shear=2.0)

RECIPES: Mapping[str, ViewLaw] = MappingProxyType(
    {
        # Fu et al., "Unsupervised Pre-training for Person Re-identification", 2021. In the names
        # cj is jitter, gs grayscale, gb blur, re erasing; w weak, s strong.
        "ori": _lup(jitter=0.4),
        "ori-cj": _lup(),
        "ori-gs": _lup(jitter=0.4, gray=0.0),
        "ori-gb": _lup(jitter=0.4, blur=0.0),
        "ori+re": _lup(jitter=0.4, erase=0.4),
        "ori-cj+re": _lup(erase=0.4),
        "ori-gs+re": _lup(jitter=0.4, gray=0.0, erase=0.4),
        "ori-gb+re": _lup(jitter=0.4, blur=0.0, erase=0.4),
        "ori-cj-gb+re": _lup(blur=0.0, erase=0.4),
        "ori+wcj+re": _lup(jitter=0.2, erase=0.4),
        "ori+wcj+sre": _lup(jitter=0.2, erase=0.6),
        "ori+wwcj+re": _lup(jitter=0.1, erase=0.4),
        "ori+sre": _lup(jitter=0.4, erase=0.6),
        "ori-cj-gb+sre": _lup(blur=0.0, erase=0.6),
        "ori-cj+sre": _lup(erase=0.6),  # the released weights
        "ori-cj+wre": _lup(erase=0.2),
        "ori-cj+ssre": _lup(erase=0.8),
        "moco": ViewLaw(
            crop=Crop(), jitter=Jitter(0.4, 0.4, 0.4, 0.4, probability=1.0), grayscale=0.2, flip=0.5
        ),
        "reid": _REID,
        # The query view of Fu et al., "Large-Scale Pre-training for Person Re-identification with
        # Noisy Labels", 2022.
        "weak": _WEAK,
        # Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification",
        # 2019; black boxes as LUPerson fine-tunes.
        "finetune": _FINETUNE,
        # The same with the additions that FastReID knows: He et al., "FastReID: A PyTorch Toolbox
        # for General Instance Re-identification", 2020. SBS has AutoAugment: for a fixed tenth of
        # the pictures, or by the falling law of LUPerson's copy, where 8 processes load batches of
        # 64 on one GPU or 32 on four. FastReID's own baselines fill boxes with ImageNet's mean.
        "finetune-mean": dataclasses.replace(_WEAK, erase=Erase(space="raw", fill=IMAGENET_COLOR)),
        # What FastReID's baselines have at present: torchvision's random erasing, and AutoAugment
        # for SBS.
        "finetune-fastreid": _FASTREID,
        "finetune-fastreid-auto": dataclasses.replace(
            _FASTREID, auto_augment=AutoAugment(probability=0.1)
        ),
        "finetune-auto": dataclasses.replace(_FINETUNE, auto_augment=AutoAugment(probability=0.1)),
        "finetune-auto-1gpu": dataclasses.replace(
            _FINETUNE, auto_augment=AutoAugment(images_per_process=8.0)
        ),
        "finetune-auto-4gpu": dataclasses.replace(
            _FINETUNE, auto_augment=AutoAugment(images_per_process=2.0)
        ),
        "finetune-augmix": dataclasses.replace(
            _FINETUNE, augmix=AugMix(severity=1.0, operations=REID_OPERATIONS)
        ),
        "finetune+cj": dataclasses.replace(
            _FINETUNE, jitter=Jitter(0.15, 0.15, 0.1, 0.1, probability=0.8)
        ),
        # Dai et al., "Cluster Contrast for Unsupervised Person Re-Identification", 2022: its
        # code fills normalized pictures with a mean of raw values, which is not quite neutral.
        "cluster": dataclasses.replace(_WEAK, erase=Erase(fill=_IMAGENET.mean)),
        # The CMPE597 study of LUPerson on Market-1501: pre-training and fine-tuning, with color or
        # affine changes added.
        "cmpe-color": dataclasses.replace(_REID, jitter=Jitter(0.3, 0.3, probability=0.6)),
        "cmpe-affine": dataclasses.replace(_REID, affine=_AFFINE),
        "cmpe-finetune-color": dataclasses.replace(
            _FINETUNE, jitter=Jitter(0.25, 0.25, probability=0.5)
        ),
        "cmpe-finetune-affine": dataclasses.replace(_FINETUNE, affine=_AFFINE),
        # Resize and normalize: evaluation.
        "test": ViewLaw(),
    }
)


def _lookup(kind: str, name: str, known: Mapping[str, Found]) -> Found:
    if name in known:
        return known[name]
    raise InputError(f"there is no {kind} {name!r}{suggest(name, known)}")


def recipe(name: str) -> ViewLaw:
    """The recipe of that name.

    Raises:
        InputError: there is none; the message gives the nearest name.
    """
    return _lookup("augmentation recipe", name, RECIPES)


def statistics(names: str) -> Statistics:
    """The mean and standard deviation of that name; of several (`statistics_of_each`) the first,
    for pictures of which nothing else is known. Raises InputError as `recipe` does."""
    return statistics_of_each(names)[0]


def statistics_of_each(names: str) -> tuple[Statistics, ...]:
    """Those of several data sets that are mixed, such as `lup+imagenet`.

    Six numbers, `mean,mean,mean,std,std,std` in 0..1, stand for themselves: a file of weights may
    expect pixels that no paper has named.

    Raises:
        InputError: a name that is not known; the message gives the nearest.
    """
    return tuple(_statistics_named(name) for name in names.split("+"))


def _statistics_named(name: str) -> Statistics:
    try:
        numbers = tuple(float(part) for part in name.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 6 and min(numbers[3:]) > 0:
        return Statistics(numbers[:3], numbers[3:])
    return _lookup("set of mean and standard deviation", name, STATISTICS)


def sample_keys(key: Key[Array, ""], num: int) -> Key[Array, "{num}"]:
    """One key for each position of the global batch.

    Args:
        key: already folded from the seed, the step and the view.
        num: images of the global batch.

    Returns:
        [num] keys. They depend on the position and not on the row of the table, because one batch
        may hold a row twice and the two must differ; nor do they depend on the number of devices.
    """
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num))


def normalize(
    image: Float[Array, "*b h w 3"], mean: Colors, std: Colors
) -> Float[Array, "*b h w 3"]:
    """(image / 255 - mean) / std for values 0..255; [B, 3] are those of each picture."""

    def of_levels(color: Colors) -> Array:
        levels = jnp.array(color, jnp.float32)
        pictures = levels.shape[:-1] or (1,) * (image.ndim - 3)
        return levels.reshape(*pictures, 1, 1, 3) * 255.0

    return (image - of_levels(mean)) / of_levels(std)


def _augment_one(
    law: ViewLaw,
    key: Array,
    image: Array,
    size: Array,
    output_size: tuple[int, int],
    mean: Colors,
    std: Colors,
    progress: Array | float,
) -> Array:
    # One key an operation, used or not: recipes that differ in one operation share all others.
    keys = jax.random.split(key, 10)
    if law.auto_augment is not None:
        image = random_policy(keys[8], image.astype(jnp.float32), law.auto_augment, progress)
    if law.crop is not None:
        image = random_resized_crop(keys[0], image, size, output_size, law.crop)
    else:
        image = resize(image, output_size, law.interpolation)
    if law.flip:
        image = random_flip(keys[1], image, law.flip)
    if law.pad:
        image = pad_and_crop(keys[2], image, law.pad)
    if law.affine is not None:
        image = random_affine(keys[3], image, law.affine)
    if law.jitter is not None:
        image = color_jitter(keys[4], image, law.jitter)
    if law.grayscale:
        image = random_grayscale(keys[5], image, law.grayscale)
    if law.blur is not None:
        image = random_blur(keys[6], image, law.blur)
    if law.augmix is not None:
        image = random_augmix(keys[9], image, law.augmix)
    if law.erase is not None and law.erase.space == "raw":
        image = random_erase(keys[7], image, law.erase)
    image = normalize(image, mean, std)
    if law.erase is not None and law.erase.space == "normalized":
        image = random_erase(keys[7], image, law.erase)
    return image


def apply(
    law: ViewLaw,
    keys: Key[Array, "b"],
    images: UInt8[Array, "b H W 3"],
    size: Int[Array, "b 2"],
    output_size: tuple[int, int],
    mean: Colors,
    std: Colors,
    progress: Float[Array, ""] | float = 0.0,
) -> Float[Array, "b h w 3"]:
    """Draws one augmented view of every picture of a batch; to be called inside a jitted step.

    Args:
        law: what to do.
        keys: one for each picture, see `sample_keys`. A view depends on its key, picture and size
            alone, wherever in the batch and on whichever device it stands.
        images: canvases, 0..255.
        size: [B, 2] height and width of the original pictures, in which crops are drawn.
        output_size: (height, width).
        mean: red, green and blue, 0..1, see `STATISTICS`; or an array [B, 3], of each picture.
        std: as mean.
        progress: share of the steps of the run that are done, 0..1; some laws change with it.

    Returns:
        [B, height, width, 3] float32, normalized.
    """

    def one(key: Array, image: Array, shape: Array, mean: Colors, std: Colors) -> Array:
        return _augment_one(law, key, image, shape, output_size, mean, std, progress)

    pixels = 0 if isinstance(mean, jax.Array) else None
    return jax.vmap(one, (0, 0, 0, pixels, pixels))(keys, images, size, mean, std)


def prepare(
    images: UInt8[Array, "b H W 3"],
    output_size: tuple[int, int],
    mean: Colors,
    std: Colors,
    interpolation: Interpolation = "bicubic",
) -> Float[Array, "b h w 3"]:
    """Resizes, where the canvas has another size, and normalizes: no randomness.

    Equal to `apply` with the recipe "test", and needs neither keys nor sizes.
    """
    resized = jax.vmap(lambda image: resize(image, output_size, interpolation))(images)
    return normalize(resized, mean, std)

"""Augmentation on the accelerator: pure functions of a key and a picture.

`recipes` holds the named compositions and applies them; `geometry`, `color` and `erase` hold what
they are made of, each with the data class of its settings; `policy` (AutoAugment) and `augmix` draw
from `operations`.
"""

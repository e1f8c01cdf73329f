"""Data sets in a few large files: ArrayRecord with the metadata of TensorFlow Datasets, or LMDB."""

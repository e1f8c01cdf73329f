"""The folder in which LUPerson keeps its four fine-tuning sets (its reader is called CMDM).

    ROOT/market1501/bounding_box_train, query, bounding_box_test, few_ids, few_ims
    ROOT/duke/...
    ROOT/msmt17/...
    ROOT/cuhk03_np/labeled/...
    ROOT/cuhk03_np/detected/...

Each word of a configuration also reads its part of such a root.
"""

FOLDERS = {
    "market1501": "market1501",
    "dukemtmc": "duke",
    "msmt17": "msmt17",
    "cuhk03_np_labeled": "cuhk03_np/labeled",
    "cuhk03_np_detected": "cuhk03_np/detected",
}
"""Word of a configuration -> its folder below the root."""

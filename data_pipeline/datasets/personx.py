"""PersonX, synthetic people before six backgrounds: the layout of Market-1501.

Its backgrounds are called 3, 4, 8, 10, 11 and 12 in file names and become the cameras 0 to 5.
"""

import functools
import re

from data_pipeline.datasets import three_folders
from data_pipeline.datasets.about import Count, DataSet

CAMERAS = {3: 0, 4: 1, 8: 2, 10: 3, 11: 4, 12: 5}
LAYOUT = three_folders.ThreeFolderLayout(
    title="PersonX",
    name=re.compile(r"(-1|\d+)_c(\d+)"),
    example="0001_c3_000001.jpg",
    cameras=CAMERAS,
    places=("PersonX", "personx/PersonX"),
)

load = functools.partial(three_folders.load, layout=LAYOUT)

DATASETS = (
    DataSet(
        name="personx",
        title="PersonX",
        load=load,
        kind="image",
        counts={
            "train": Count(9840, 410, len(CAMERAS)),
            "query": Count(5136, 856, len(CAMERAS)),
            "gallery": Count(30816, 856, len(CAMERAS)),
        },
        # Market-1501 has no camera above 6; the file names may be alike.
        markers=(*LAYOUT.markers("*_c8*.jpg"), LAYOUT.markers("*_c10*.jpg")[0]),
        tree="""
            ROOT or ROOT/PersonX
              bounding_box_train/0001_c3*.jpg      identity 1, background 3
              query/
              bounding_box_test/
        """,
        citation="Sun, Zheng: Dissecting Person Re-identification from the Viewpoint of Viewpoint. "
        "CVPR 2019",
        url="https://github.com/sxzrt/Instructions-of-the-PersonX-dataset",
        license="see its page",
        access="download from the authors' page",
        note="Identities of each part are recalled, numbers of images are those that SpCL states. "
        "What follows the camera in file names could not be verified and is not looked at.",
    ),
)

"""VeRi-776: 776 vehicles before 20 cameras, in three folders."""

import functools
import re

from data_pipeline.datasets import three_folders
from data_pipeline.datasets.about import Count, DataSet

NUM_CAMERAS = 20
LAYOUT = three_folders.ThreeFolderLayout(
    title="VeRi-776",
    name=re.compile(r"(-1|\d+)_c(\d{3})_"),
    example="0001_c001_00016450_0.jpg",
    cameras=three_folders.counted(NUM_CAMERAS),
    places=("VeRi", "veri/VeRi", "veri", "VeRi_with_plate"),
    folders=("image_train", "image_query", "image_test"),
)

load = functools.partial(three_folders.load, layout=LAYOUT)

DATASETS = (
    DataSet(
        name="veri776",
        title="VeRi-776",
        load=load,
        kind="image",
        counts={
            "train": Count(37778, 576, NUM_CAMERAS),
            "query": Count(1678, 200),
            "gallery": Count(11579, 200),
        },
        markers=LAYOUT.markers("*_c???_*.jpg"),
        tree="""
            ROOT, ROOT/VeRi or ROOT/VeRi_with_plate
              image_train/0001_c001_00016450_0.jpg      vehicle 1, camera 1
              image_query/
              image_test/
        """,
        citation="Liu, Liu, Mei, Ma: A Deep Learning-Based Approach to Progressive Vehicle "
        "Re-identification for Urban Surveillance. ECCV 2016",
        url="https://vehiclereid.github.io/VeRi/",
        license="research only",
        access="on request from the authors",
        note="Vehicles. Configurations of persons need data.size changed: CALR takes 224 x 224. "
        "The number of queries is recalled; cameras of queries and gallery are not published.",
    ),
)

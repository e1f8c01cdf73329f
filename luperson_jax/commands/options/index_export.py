"""`luperson index-export INDEX OUT --to LIBRARY`: an index for faiss or usearch.

OUT gets index.faiss or index.usearch, whose ids are the numbers of the pictures, and
columns.parquet, which has their paths, cameras and moments. Vectors and numbers are read back and
compared, and how the library answers is said.

Example:
    luperson index-export people people-faiss --to faiss
    luperson index-export people people-graph --to usearch
"""

import argparse

LIBRARIES = ("faiss", "usearch")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("index", metavar="DIR", help="of `luperson index`")
    parser.add_argument("target", metavar="OUT", help="folder to be made")
    parser.add_argument("--to", required=True, choices=LIBRARIES, help="which library")
    parser.add_argument(
        "--approximate", action="store_true", help="of faiss, a graph (HNSW) in place of products"
    )

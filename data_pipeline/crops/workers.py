"""Processes that share out a list of jobs."""

import concurrent.futures
import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from data_pipeline.errors import InputError
from data_pipeline.read import worker


@contextlib.contextmanager
def process_pool(num_workers: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """A pool of processes that end with this one, killed or not, and drop what waits on an error.

    Raises:
        InputError: one of them died.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        num_workers, context, worker.end_with_parent
    ) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise InputError(
                "one of the processes died, perhaps for lack of memory; run the same command "
                "again, with fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

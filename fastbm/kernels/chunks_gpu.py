"""How rows are shared out among blocks of the GPU that sum over them: see moments.cu."""

from typing import NamedTuple

import cupy

from fastbm.kernels.cuda_gpu import launch

THREADS, WIDEST = 256, 32
"""Threads of a block, and the most units that one sums: neighbours, read together."""
ROWS_OF_A_LANE, MOST_CHUNKS = 32, 128
"""A lane sums at least so many rows, where there are as many; and a group of rows has no more chunks than this."""


class Chunks(NamedTuple):
    """Chunks of `size` rows, `n_chunks` in each group, summed `width` units at a time; of the shape alone."""

    n_chunks: int
    size: int
    width: int


def chunks_of(n_rows: int, n_units: int) -> Chunks:
    """Return the chunks of a group of rows."""
    width = min(WIDEST, 1 << (n_units - 1).bit_length())
    size = max(ROWS_OF_A_LANE * (THREADS // width), -(-n_rows // MOST_CHUNKS))
    return Chunks(-(-n_rows // size), size, width)


def empty_parts(shape, n_groups: int, chunks: Chunks):
    """Return two arrays with a row for each chunk."""
    return tuple(cupy.empty((n_groups * chunks.n_chunks, shape[1]), dtype=cupy.float32) for _ in range(2))


def launch_chunks(name: str, arrays, shape, n_groups: int, chunks: Chunks, *numbers) -> None:
    """Call a kernel of moments.cu with a block for each chunk and `width` units."""
    n_blocks = n_groups * chunks.n_chunks * -(-shape[1] // chunks.width)
    launch("moments", name, n_blocks * THREADS, *arrays, *shape, n_groups, *chunks, *numbers, threads=THREADS, bytes_a_thread=4)

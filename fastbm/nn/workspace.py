"""Arrays that are made once, for the largest minibatch, and given again and again as views of their first rows."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastbm.device import namespace


class Workspace:
    """Arrays by name, like the parameters of a network in library, device and type."""

    def __init__(self, like):
        self.xp, self.dtype, self.arrays = namespace(like), like.dtype, {}
        self.nothing = self.xp.empty((0,), dtype=self.dtype)

    def rows(self, name, n_rows: int, width: int, dtype: Any = None):
        """Return an array (n_rows, width), whose content is left from last time; a new one where it was narrower or shorter."""
        array = self.arrays.get(name)
        if array is None or array.shape[0] < n_rows or array.shape[1] != width:
            array = self.arrays[name] = self.xp.empty((n_rows, width), dtype=dtype or self.dtype)
        return array if array.shape[0] == n_rows else array[:n_rows, :]


class Run(NamedTuple):
    """What layers need to know of a pass beside its rows.

    In `training`, batch normalisation takes the moments of the rows, of each of `n_groups` equal groups of them apart, and
    dropout drops; its masks are of the stream `key`, and have the counters `update` and, layer after layer, `block` onwards.
    `side` are the rows that a `Join` appends, and `side_gradient` gets their gradient.
    """

    space: Workspace
    training: bool = True
    n_groups: int = 1
    key: Any = None
    update: int = 0
    block: int = 0
    side: Any = None
    side_gradient: Any = None

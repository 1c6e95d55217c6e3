"""MNIST: samples of deep Boltzmann machines of several depths, side by side, 1,000 sweeps from fair coins.

The machines are those that ``dbm.py --hidden ... --save FILE`` has kept, one a file.

    FASTBM_DATA=folder python benchmarks/quality/dbm.py --hidden 500 500 1000 --passes 6 --rate 0.1 --save three.npz
    python benchmarks/quality/dbm_depths.py one.npz two.npz three.npz --picture dbm_depths.png
"""

from __future__ import annotations

import argparse
import time

from dbm_classifier import loaded
from report import show

ROWS, COLUMNS = 8, 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="+", help="files of arrays W0, W1, …, b0, b1, …")
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", required=True)
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from fastbm import plotting

    figure, axes = pyplot.subplots(1, len(options.machines), figsize=(4 * len(options.machines), 4.3), squeeze=False)
    for path, ax in zip(options.machines, axes[0], strict=True):
        machine, begin = loaded(path, options.seed), time.perf_counter()
        samples = machine.sample(ROWS * COLUMNS, n_steps=options.sweeps, return_mean=True)
        seconds, sizes = time.perf_counter() - begin, [machine.n_features_in_, *map(len, machine.intercepts_)]
        plotting.plot_images(samples, n_columns=COLUMNS, title="–".join(map(str, sizes)), ax=ax)
        show(script="dbm_depths", sizes=sizes, sweeps=options.sweeps, seed=options.seed, seconds_of_sampling=round(seconds, 1))
    figure.suptitle(f"{options.sweeps:,} sweeps from fair coins")
    figure.tight_layout()
    figure.savefig(options.picture, dpi=100)


if __name__ == "__main__":
    main()

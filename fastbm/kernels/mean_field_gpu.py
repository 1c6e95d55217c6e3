"""Mean field on the GPU."""

from fastbm.kernels import formulas


def mean_field(given, weights, biases, means, n_updates, change, *, tolerance, max_updates, damping):
    formulas.mean_field(
        given, weights, biases, means, n_updates, change, tolerance=tolerance, max_updates=max_updates, damping=damping
    )  # fmt: skip

"""The first pass of a learning update, on the GPU: a sweep of the chains, and the hidden means of data and chains."""

import cupy

from fastbm.kernels import gibbs_gpu, infer_gpu


def phases(
    rows, visible, hidden, means, to_hidden, to_visible, visible_bias, hidden_bias, visible_free, hidden_free, tables,
    *, exponent, key, update,
):  # fmt: skip
    n_rows, n_chains = rows.shape[0], visible.shape[0]
    beta = cupy.ones(1, cupy.float32)
    gibbs_gpu.gibbs(
        (visible, hidden), (to_hidden,), (to_visible,), (visible_bias, hidden_bias), beta, (visible_free, hidden_free), tables,
        exponent=exponent, key=key, first_chain=0, start=update, stop=update + 1,
    )  # fmt: skip
    logits = cupy.empty((max(n_rows, n_chains), hidden_bias.size), cupy.float32)
    infer_gpu.infer(rows, to_hidden, hidden_bias, beta, logits, means[:n_rows], exponent=exponent)
    infer_gpu.infer(visible, to_hidden, hidden_bias, beta, logits, means[n_rows:], exponent=exponent)
    infer_gpu.draw(hidden, logits, hidden_free, key=key, first_chain=0, update=update + 1)

"""The cross-entropy of logits with one target, on the GPU, by one block."""

from fastbm.kernels.cuda_gpu import THREADS, launch


def logistic_loss(logits, gradient, figures, *, target, weight):
    launch(
        "networks", "logistic_loss", THREADS, logits, gradient, figures, logits.size, float(target), float(weight),
        bytes_a_thread=16,
    )  # fmt: skip

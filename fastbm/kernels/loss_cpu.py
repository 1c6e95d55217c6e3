"""The cross-entropy of logits with one target."""

import math

import numpy as np
from numba import float32, float64

from fastbm.kernels.compile_cpu import kernel


def logistic_loss(logits, gradient, figures, *, target, weight):
    run_logistic_loss(logits, gradient, figures, float(target), float(weight))


@kernel
def run_logistic_loss(logits, gradient, figures, target, weight):
    loss, probability, share = 0.0, 0.0, 1.0 / logits.size
    for k in range(logits.size):
        x = float64(logits[k])
        e = math.exp(-abs(x))
        on, off = (1.0 if x > 0.0 else e) / (1.0 + e) + (x - x), (e if x > 0.0 else 1.0) / (1.0 + e)
        loss += (x if x > 0.0 else 0.0) - target * x + np.log1p(e)
        probability += on
        gradient[k] = float32(weight * share * ((1.0 - target) * on - target * off))
    figures[0] = float32(weight * share * loss)
    figures[1] = float32(share * probability)

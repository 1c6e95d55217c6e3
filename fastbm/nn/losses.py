"""The cross-entropy of logits, by softplus: no logarithm of 0 is ever taken."""

from __future__ import annotations

from fastbm.device import namespace
from fastbm.kernels import networks
from fastbm.nn.activations import is_compiled
from fastbm.units import bernoulli


def logistic_loss(logits, gradient, figures, *, target: float, weight: float = 1.0) -> None:
    """Write weight · mean(softplus(x) - target · x) and mean σ(x) to `figures`, and the gradient of the former.

    softplus(x) - target x = -target log σ(x) - (1 - target) log(1 - σ(x)). `logits` and `gradient` (n, 1), `figures` (2,).
    """
    if is_compiled(logits):
        networks.logistic_loss(logits.reshape(-1), gradient.reshape(-1), figures, target=target, weight=weight)
        return
    xp, share, sigma = namespace(logits), weight / logits.shape[0], bernoulli.mean(logits)
    gradient[...] = share * ((1 - target) * sigma - target * bernoulli.mean(-logits))  # precise at both ends
    figures[0] = weight * xp.mean(bernoulli.log_partition(logits) - target * logits)
    figures[1] = xp.mean(sigma)

"""How well chains mix: integrated autocorrelation time, effective sample size, split R-hat, of draws of any observable.

Draws are arrays of shape (n_chains, n_draws), as `trace` returns them; one chain may be one row, or an array of one dimension.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

WINDOW = 5.0
"""The autocorrelation is summed up to this many of the times that it sums to."""
FEWEST_DRAWS = 4


def autocorrelation_time(draws) -> float:
    """Return the integrated autocorrelation time τ = 1 + 2 Σ_t ρ(t): how many draws are worth one independent draw.

    ρ is averaged over the chains, and summed up to the smallest t ≥ 5 max(τ(t), 1) [1]_ [2]_. Chains should be many times
    longer than τ, or it is underestimated.

    Parameters
    ----------
    draws : array-like of shape (n_chains, n_draws)

    Returns
    -------
    tau : float
        At least 1 but for chains that swing back and forth; NaN when nothing changes.

    Raises
    ------
    ValueError
        When the draws are not numbers of that shape, or fewer than 4 a chain.

    References
    ----------
    .. [1] Sokal, "Monte Carlo methods in statistical mechanics: foundations and new algorithms", 1996.
    .. [2] Goodman & Weare, "Ensemble samplers with affine invariance", CAMCoS 5, 2010.
    """
    draws = check_draws(draws)
    covariances = autocovariances(draws - draws.mean(axis=1, keepdims=True)).mean(axis=0)
    if not covariances[0] > 0.0:
        return math.nan
    times = 2.0 * np.cumsum(covariances / covariances[0]) - 1.0
    fine = np.arange(len(times)) >= WINDOW * np.maximum(times, 1.0)
    return float(times[np.argmax(fine) if fine.any() else -1])


def effective_sample_size(draws) -> float:
    """Return how many independent draws would give the mean as well as these, all chains together.

    Bulk effective sample size of rank-normalised split chains: autocorrelations from variances within and between chains,
    summed over Geyer's initial monotone sequence [1]_ [2]_.

    Parameters
    ----------
    draws : array-like of shape (n_chains, n_draws)

    Returns
    -------
    size : float
        NaN when nothing changes.

    Raises
    ------
    ValueError
        When the draws are not numbers of that shape, or fewer than 4 a chain.

    References
    ----------
    .. [1] Vehtari, Gelman, Simpson, Carpenter & Bürkner, "Rank-normalization, folding, and localization: an improved R-hat for
       assessing convergence of MCMC", Bayesian Analysis 16, 2021.
    .. [2] Geyer, "Practical Markov chain Monte Carlo", Statistical Science 7, 1992.
    """
    halves = rank_normalised(split(check_draws(draws)))
    n_chains, n_draws = halves.shape
    means = halves.mean(axis=1, keepdims=True)
    covariances = autocovariances(halves - means)
    within = covariances[:, 0].mean() * n_draws / (n_draws - 1.0)
    pooled = within * (n_draws - 1.0) / n_draws + (means.var(ddof=1) if n_chains > 1 else 0.0)
    if not pooled > 0.0:
        return math.nan
    correlations = 1.0 - (within - covariances.mean(axis=0)) / pooled  # as Stan and ArviZ have it
    correlations[0] = 1.0
    tau = geyer_sum(correlations)
    total = n_chains * n_draws
    return float(total / max(tau, 1.0 / math.log10(total)))


def geyer_sum(correlations) -> float:
    """Return -1 + 2 Σ of sums of neighbours ρ(2t) + ρ(2t+1), as long as they are positive, and none larger than the last."""
    n_pairs = len(correlations) // 2
    pairs = correlations[: 2 * n_pairs].reshape(n_pairs, 2).sum(axis=1)
    n_kept = int(np.argmax(pairs <= 0.0)) if (pairs <= 0.0).any() else n_pairs
    kept = np.minimum.accumulate(pairs[:n_kept])
    rest = max(float(correlations[2 * n_kept]), 0.0) if 2 * n_kept < len(correlations) else 0.0
    return float(-1.0 + 2.0 * kept.sum() + rest)


def split_rhat(draws) -> float:
    """Return the rank-normalised split R-hat [1]_: near 1 when all halves of all chains have seen the same.

    √(pooled variance / variance within) of the normal scores of the draws' ranks, each chain cut in halves; the larger one of
    this and the same for ``|draws - median|``. Values above 1.01 say that chains have not mixed.

    Parameters
    ----------
    draws : array-like of shape (n_chains, n_draws)

    Returns
    -------
    rhat : float
        NaN when nothing changes.

    Raises
    ------
    ValueError
        When the draws are not numbers of that shape, or fewer than 4 a chain.

    References
    ----------
    .. [1] Vehtari, Gelman, Simpson, Carpenter & Bürkner, "Rank-normalization, folding, and localization: an improved R-hat for
       assessing convergence of MCMC", Bayesian Analysis 16, 2021.
    """
    halves = split(check_draws(draws))
    folded = np.abs(halves - np.median(halves))
    return max((plain_rhat(rank_normalised(each)) for each in (halves, folded)), key=lambda r: (not math.isnan(r), r))


def plain_rhat(draws) -> float:
    """Return √(pooled variance / variance within) of chains [1]_ in `split_rhat`; infinite when none moves."""
    n_draws = draws.shape[1]
    within, between = draws.var(axis=1, ddof=1).mean(), draws.mean(axis=1).var(ddof=1)
    if not within > 0.0:
        return math.inf if between > 0.0 else math.nan
    return float(np.sqrt((n_draws - 1.0) / n_draws + between / within))


def to_arviz(draws):
    """Return draws as ArviZ takes them, for its plots and summaries; needs arviz, which is imported here.

    Parameters
    ----------
    draws : array-like of shape (n_chains, n_draws), or dict of such arrays by name
        As from `trace`. An array alone is named "observable".

    Returns
    -------
    data : arviz.InferenceData, or xarray.DataTree from ArviZ 1 on
        With the group "posterior", though no prior is around: that is what ArviZ looks for.

    Raises
    ------
    ImportError
        When arviz is not installed.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError("to_arviz needs arviz, which is not installed: pip install arviz") from error
    named = draws if isinstance(draws, dict) else {"observable": draws}
    posterior = {name: check_draws(values) for name, values in named.items()}
    if int(arviz.__version__.partition(".")[0]) >= 1:
        return arviz.from_dict({"posterior": posterior})
    return arviz.from_dict(posterior=posterior)


def check_draws(draws) -> np.ndarray:
    """Return draws as float64 of shape (n_chains, n_draws); ValueError when they are not such."""
    try:
        values = np.atleast_2d(np.asarray(draws, np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"draws must be numbers of shape (n_chains, n_draws), got {draws!r}") from error
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] < FEWEST_DRAWS or not np.isfinite(values).all():
        raise ValueError(
            f"draws must be finite numbers of shape (n_chains, n_draws), at least {FEWEST_DRAWS} a chain; "
            f"got shape {values.shape}, {int((~np.isfinite(values)).sum())} not finite"
        )
    return values


def split(draws) -> np.ndarray:
    """Return each chain as two, its halves; the middle draw of an odd number is left out."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def rank_normalised(draws) -> np.ndarray:
    """Return the normal scores Φ⁻¹((r - 3/8) / (S + 1/4)) of the ranks r of all draws together; equal draws share a rank."""
    _, places, counts = np.unique(draws, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - 0.5 * (counts - 1)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf((rank - 0.375) / (draws.size + 0.25)) for rank in ranks])
    return scores[places].reshape(draws.shape)


def autocovariances(deviations) -> np.ndarray:
    """Return (1/n) Σ_s x_s x_s+t of each row for t = 0 … n - 1, by the fast Fourier transform of the row and n zeros."""
    n = deviations.shape[1]
    spectrum = np.fft.rfft(deviations, 2 * n, axis=1)
    return np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=1)[:, :n] / n

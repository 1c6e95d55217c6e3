"""How good a machine is: log Z, likelihoods, and how well its chains mix.

Functions take a fitted estimator, or the parameters of a machine.
"""

import fastbm.evaluation.gaussian_path
import fastbm.evaluation.graphs  # noqa: F401  # register their kinds of machine
from fastbm.evaluation.chain_diagnostics import autocorrelation_time, effective_sample_size, split_rhat, to_arviz
from fastbm.evaluation.likelihood import free_energy_gap, log_likelihood, pseudo_log_likelihood
from fastbm.evaluation.partition import LogPartition, log_partition
from fastbm.evaluation.parzen import ParzenScore, parzen_log_likelihood, parzen_score
from fastbm.evaluation.tracing import trace

__all__ = [
    "LogPartition",
    "ParzenScore",
    "autocorrelation_time",
    "effective_sample_size",
    "free_energy_gap",
    "log_likelihood",
    "log_partition",
    "parzen_log_likelihood",
    "parzen_score",
    "pseudo_log_likelihood",
    "split_rhat",
    "to_arviz",
    "trace",
]

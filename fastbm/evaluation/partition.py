"""log Z, the log partition function: exactly, or by annealed importance sampling, with a bracket."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import home_of, to_host, using
from fastbm.evaluation import annealing, beta_schedule, bridge
from fastbm.evaluation.bridge import Estimate
from fastbm.evaluation.deep import folded, is_deep
from fastbm.evaluation.exact import exact_log_partition, n_enumerated
from fastbm.evaluation.given import check_count, has_chains, machine_of, rows_of, scaled, seed_of, taught
from fastbm.evaluation.paths import annealed

METHODS = ("auto", "exact", "ais")
MOST_UNITS_OF_AUTO = 20
DISAGREEMENT = 1.0
"""Nats that forward and reverse may differ by without a warning."""
EVEN_WEIGHTS = 0.125
"""Part of the forward chains that their effective sample size must be for their ends to be taken as samples unasked."""
WIDTH = 2.0
"""Standard errors by which the bracket is widened on each side."""
PILOT_PART = 20
"""A pilot run has so many times fewer βs than the run."""
FEWEST_PILOT_BETAS = 51


class LogPartition(NamedTuple):
    """log Z in nats, and how far to trust it.

    Parameters
    ----------
    log_z : float
        The estimate: exact, or Bennett's, of forward and reverse chains together.
    stderr : float
        Its standard error; 0 when exact.
    lower : float
        The forward estimate less two of its standard errors. Its weights are unbiased, so that their log mean falls short of
        log Z on average, and exceeds it by more than b with a probability below e^(-b), however badly the chains mix.
    upper : float
        The reverse estimate plus two of its standard errors: as `lower`, from above, as far as the reverse chains begin at the
        machine's own distribution.
    effective_sample_size : float
        (Σ w)² / Σ w² of the weights of the forward chains; infinite when exact.
    method : str
        "exact" or "ais".
    """

    log_z: float
    stderr: float
    lower: float
    upper: float
    effective_sample_size: float
    method: str


class Annealing(NamedTuple):
    """What annealing found: log Z three ways, and the effective sample size of the forward chains."""

    forward: Estimate
    reverse: Estimate
    bridge: Estimate
    effective_sample_size: float


def log_partition(
    machine,
    method="auto",
    *,
    n_chains=128,
    n_betas=10000,
    betas="adapted",
    X=None,
    init=None,
    n_steps=100,
    n_jobs=None,
    random_state=None,
    verbose=0,
) -> LogPartition:
    """Return log Z of a machine, exactly or by annealed importance sampling [1]_ [2]_.

    Annealing runs chains from a base distribution without couplings to the machine, and as many back from the machine to the
    base [3]_; Bennett's acceptance ratio [4]_ joins them.

    Parameters
    ----------
    machine : estimator or NamedTuple
        A fitted estimator, or the parameters of a machine. Of a machine with labels, that given each class is taken in turn; of
        a deep Boltzmann machine the odd layers, or the even ones, are summed out.
    method : {"auto", "exact", "ais"}, default="auto"
        "exact" enumerates the smaller side, of at most 25 units, or with Gaussian visible units the hidden ones; "auto" does so
        up to 20, and anneals beyond.
    n_chains : int, default=128
        Forward chains, and as many reverse ones.
    n_betas : int, default=10000
        Inverse temperatures from 0 to 1: sweeps of each chain. More of them lower the error faster than more chains.
    betas : {"adapted", "uniform"} or array-like, default="adapted"
        The inverse temperatures: spaced so that all steps add equally to the variance of the log weights, as judged by a short
        pilot run; equally spaced; or given, increasing from 0 to 1, and then `n_betas` is not looked at.
    X : array-like of shape (n_samples, n_features), default=None
        Rows that the base is fitted to: log odds of their smoothed mean activities; of Gaussian units the mean at the mean
        hidden states of the rows. Without, the persistent chains of the training are taken, or the ends of a pilot run. A base
        that is like the data is best.
    init : None, "chains", "ends" or array-like of shape (n_rows, n_features), default=None
        Where reverse chains begin, before their `n_steps` sweeps: "chains", the persistent chains of the training; "ends", the
        ends of forward chains, drawn by their weights; or rows. Chains and rows are used in turn where there are too few. None
        is "ends" where the effective sample size is an eighth of the number of chains or more, or where
        there are no chains of a training; else "chains", which may know of states that no forward chain has found.
    n_steps : int, default=100
        Sweeps that reverse chains make at β = 1 before they go back.
    n_jobs : int, default=None
        Workers of joblib: threads, unless ``joblib.parallel_config(backend=...)`` says otherwise. None is 1, whose kernels use
        all threads by themselves. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Seed of all chains.
    verbose : int, default=0
        When not 0, shows progress bars.

    Returns
    -------
    result : LogPartition
        Named: log_z, stderr, lower, upper, effective_sample_size, method. Of an estimator that standardises its data, it is
        log Z of the machine of the standardised features.

    Raises
    ------
    ValueError
        When an argument is not valid, or a machine too large for "exact".
    TypeError
        When the machine is none that has a log Z here.

    Warns
    -----
    UserWarning
        When the forward and the reverse estimate differ by more than a nat: log Z is then not known to a nat.

    References
    ----------
    .. [1] Neal, "Annealed importance sampling", Statistics and Computing 11, 2001.
    .. [2] Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    .. [3] Burda, Grosse & Salakhutdinov, "Accurate and conservative estimates of MRF log-likelihood using reverse annealing",
       AISTATS 2015.
    .. [4] Bennett, "Efficient estimation of free energy differences from Monte Carlo data", J. Comput. Phys. 22, 1976.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import BernoulliRBM
    >>> from fastbm.evaluation import log_partition
    >>> machine = BernoulliRBM.from_weights(np.zeros((3, 2)), np.zeros(3), np.zeros(2))
    >>> round(float(log_partition(machine).log_z / np.log(2)), 6)
    5.0
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if hasattr(machine, "_machine_of_class"):
        return _over_classes(
            machine, method=method, n_chains=n_chains, n_betas=n_betas, betas=betas, X=X, init=init, n_steps=n_steps,
            n_jobs=n_jobs, random_state=seed_of(random_state), verbose=verbose,
        )  # fmt: skip
    if is_deep(machine):
        random_state = seed_of(random_state)
        machine, X, init = folded(machine, X, init, random_state)
    given, machine = machine, taught(n_enumerated, machine, "log_partition")
    exactly = method == "exact" or (method == "auto" and n_enumerated(machine) <= MOST_UNITS_OF_AUTO)
    if exactly:
        with using(home_of(machine[0])):
            log_z = exact_log_partition(machine)
        return LogPartition(log_z, 0.0, log_z, log_z, math.inf, "exact")
    found = anneal(
        given, n_chains=n_chains, n_betas=n_betas, betas=betas, X=X, init=init, n_steps=n_steps, n_jobs=n_jobs,
        random_state=random_state, verbose=verbose,
    )  # fmt: skip
    _warn(found)
    log_z, stderr = found.bridge
    lower, upper = bracket(found, log_z)
    return LogPartition(log_z, stderr, lower, upper, found.effective_sample_size, "ais")


def bracket(found: Annealing, log_z: float) -> tuple[float, float]:
    """Return what log Z lies between: an end of each estimate, and where they contradict each other these are crossed."""
    ends = found.forward.value - WIDTH * found.forward.stderr, found.reverse.value + WIDTH * found.reverse.stderr
    return min(*ends, log_z), max(*ends, log_z)


def _over_classes(machine, **how) -> LogPartition:
    """Return log Z = log Σ_y exp(d_y + log Z_y) of a machine with labels; Z_y is that of the machine given class y."""
    machine_of(machine)  # raises where it is not fitted
    found, biases, seed = [], np.asarray(to_host(machine.intercept_class_), np.float64), how.pop("random_state")
    for number in range(len(biases)):
        of_class = int.from_bytes(
            np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(4, np.uint32).tobytes(), "little"
        )
        found.append(log_partition(machine._machine_of_class(number), random_state=of_class, **how))
    log_z, stderrs, lower, upper, sizes = (np.array(values) for values in zip(*(each[:5] for each in found), strict=True))

    def total(terms) -> float:
        return float(np.logaddexp.reduce(terms + biases))

    shares = np.exp(log_z + biases - total(log_z))
    stderr = float(np.sqrt(((shares * stderrs) ** 2).sum()))
    return LogPartition(total(log_z), stderr, total(lower), total(upper), float(sizes.min()), found[0].method)


def _warn(found: Annealing) -> None:
    gap = found.reverse.value - found.forward.value
    if not abs(gap) <= DISAGREEMENT:
        warnings.warn(
            f"annealing forward gives log Z = {found.forward.value:.2f}, in reverse {found.reverse.value:.2f}: they differ by "
            f"{abs(gap):.2f} nats, so that log Z is not known to a nat. Use more n_betas, and more n_steps if the reverse "
            "chains do not begin at the machine's own distribution",
            UserWarning,
            stacklevel=3,
        )


def anneal(
    given, *, n_chains=128, n_betas=10000, betas: Any = "adapted", X=None, init=None, n_steps=100, n_jobs=None,
    random_state=None, verbose=0,
) -> Annealing:  # fmt: skip
    """Anneal forward and in reverse; arguments as of `log_partition`."""
    n_chains, n_betas = check_count(n_chains, "n_chains", 2), check_count(n_betas, "n_betas", 2)
    n_steps, seed, machine = check_count(n_steps, "n_steps", 0), seed_of(random_state), machine_of(given)
    with using(home_of(machine[0])):
        path, betas = _plan(machine, _base_rows(given, X), betas, n_betas, seed)
        at_ends = init is None or (isinstance(init, str) and init == "ends")
        starts: Any = None if at_ends else path.enter(rows_of(given, init))  # errors come before the work
        key = chain.stream_key(seed, Purpose.ANNEALING)
        parts = annealing.in_groups(annealing.forward_group, n_chains, n_jobs, lambda *_: (path, betas, key, verbose))
        forward = np.concatenate([to_host(part[1]) for part in parts])
        if init is None:
            even = bridge.effective_number(forward) >= EVEN_WEIGHTS * n_chains
            init = "ends" if even or not has_chains(given) else "chains"
        if isinstance(init, str) and init == "ends":
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(Purpose.RESAMPLING),)))
            chosen = families = bridge.resample(forward, n_chains, float(rng.random()))
            starts = path.join([part[0] for part in parts])
        else:
            starts = path.enter(rows_of(given, init)) if starts is None else starts
            chosen = np.arange(n_chains) % len(starts[0])
            families = n_chains + chosen  # none of them descends from a forward chain
        key = chain.stream_key(seed, Purpose.REVERSE_ANNEALING)
        back = annealing.in_groups(
            annealing.reverse_group, n_chains, n_jobs,
            lambda first, last: (path, betas, path.take(starts, chosen[first:last]), key, n_steps, verbose),
        )  # fmt: skip
        reverse = np.concatenate([to_host(part) for part in back])
    return _estimates(forward + path.log_base(), reverse + path.log_base(), families)


def _base_rows(given, X):
    """Return the rows that the base is fitted to, as the machine knows them: those given, training chains, or None."""
    if X is not None:
        return scaled(given, X, "X")
    return rows_of(given, "chains") if has_chains(given) else None


def _estimates(forward, reverse, families) -> Annealing:
    """Return log Z by forward chains, by reverse chains, which depend on each other in families, and by both."""
    of_reverse = bridge.log_mean_exp(-reverse, families)
    both = bridge.bennett(forward, reverse, families)
    size = bridge.effective_number(forward)
    return Annealing(bridge.log_mean_exp(forward), Estimate(-of_reverse.value, of_reverse.stderr), both, size)


def _plan(machine, rows, betas, n_betas: int, seed: int):
    """Return the path and the inverse temperatures, for which pilot runs are made where they are needed."""
    key = chain.stream_key(seed, Purpose.PILOT_ANNEALING)
    path, n_pilot = annealed(machine, rows), max(FEWEST_PILOT_BETAS, n_betas // PILOT_PART)
    if not isinstance(betas, str):
        betas = beta_schedule.check_betas(betas)
    elif betas not in ("adapted", "uniform"):
        raise ValueError(f"betas must be 'adapted', 'uniform' or numbers that increase from 0 to 1, got {betas!r}")
    if rows is None:
        states, *_ = beta_schedule.pilot(path, n_pilot, key=key)
        path = annealed(machine, path.rows(states))
    if isinstance(betas, str) and betas == "adapted":
        _, coarse, increments = beta_schedule.pilot(path, n_pilot, key=key)
        betas = beta_schedule.adapted(coarse, increments, n_betas)
    elif isinstance(betas, str):
        betas = beta_schedule.uniform(n_betas)
    return path, betas

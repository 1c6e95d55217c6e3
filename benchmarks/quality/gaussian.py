"""GaussianRBM on what scikit-learn has embedded: held-out log-likelihoods, exact, and moments of samples beside the data's.

Each set is standardised, a fifth of its rows is held out. Beside the machine stand a normal distribution of independent
features, and one with the covariance of the training rows, shrunk as Ledoit and Wolf say. With 16 hidden units log Z is exact.

Parallel tempering, because learnt deviations become small against the distance of modes, which plain chains then do not leave.

    python benchmarks/quality/gaussian.py [--seeds 2] [--updates 3000] [--algorithm pt]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import show
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.model_selection import train_test_split

from fastbm import GaussianRBM

SETS = {"iris": load_iris, "wine": load_wine, "diabetes": load_diabetes, "breast_cancer": load_breast_cancer}


def independent(train) -> EmpiricalCovariance:
    model = EmpiricalCovariance().fit(train)
    model._set_covariance(np.diag(np.diag(model.covariance_)))
    return model


def moments(machine, X, seed) -> dict[str, float]:
    """Return the largest differences of moments of samples and of rows, both in deviations of the rows."""
    samples = machine.sample(4000, n_steps=300, init="chains", random_state=seed + 1)
    z = (samples - X.mean(axis=0)) / X.std(axis=0)
    correlations = np.abs(np.corrcoef(samples.T) - np.corrcoef(X.T))
    return {
        "mean": np.abs(z.mean(axis=0)).max(), "deviation": np.abs(z.std(axis=0) - 1).max(), "correlation": correlations.max(),
        "mean_correlation": correlations[np.triu_indices(len(correlations), 1)].mean(),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--updates", type=int, default=3000)
    parser.add_argument("--algorithm", default="pt")
    options = parser.parse_args()
    for name, load in SETS.items():
        for seed in range(options.seeds):
            X = load().data
            train, test = train_test_split(X, test_size=0.2, random_state=seed)
            z = [(rows - train.mean(axis=0)) / train.std(axis=0) for rows in (train, test)]
            machine = GaussianRBM(
                16, standardize=True, learn_sigma=True, learning_rate=0.05, learning_rate_schedule="linear", momentum=0.5,
                batch_size=50, n_chains=100, n_iter=max(1, options.updates * 50 // len(train)), random_state=seed,
                algorithm=options.algorithm,
            )  # fmt: skip
            begin = time.perf_counter()
            machine.fit(train)
            seconds = time.perf_counter() - begin
            found = {f"samples_{key}": round(float(value), 3) for key, value in moments(machine, train, seed).items()}
            scales = np.log(machine.scale_).sum()  # densities are shown in the units of standardised features
            show(
                script="gaussian", data=name, n_features=X.shape[1], seed=seed, updates=options.updates,
                algorithm=options.algorithm,
                test_log_likelihood=round(float(scales + machine.log_likelihood(test).mean()), 3),
                train_log_likelihood=round(float(scales + machine.log_likelihood(train).mean()), 3),
                independent_normal=round(float(independent(z[0]).score(z[1])), 3),
                normal_with_covariance=round(float(LedoitWolf().fit(z[0]).score(z[1])), 3),
                smallest_sigma=round(float(machine.sigma_.min()), 3), **found, seconds=round(seconds, 1),
            )  # fmt: skip


if __name__ == "__main__":
    main()

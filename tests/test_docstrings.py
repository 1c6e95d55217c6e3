"""Docstrings of the public API: they are there, their parameters are the signature's, their attributes are those of a fit."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from importlib.util import find_spec

import numpy as np
import pytest

import fastbm
from fastbm import (
    GAN,
    BernoulliRBM,
    BiGAN,
    BoltzmannMachine,
    DeepBeliefClassifier,
    DeepBeliefNetwork,
    GaussianRBM,
    RBMClassifier,
    StackedRBM,
)

ESTIMATORS = [
    GAN, BernoulliRBM, BiGAN, BoltzmannMachine, DeepBeliefClassifier, DeepBeliefNetwork, GaussianRBM, RBMClassifier,
    StackedRBM,
]  # fmt: skip


def public_objects() -> dict[str, object]:
    """Return the public classes, their methods, the public modules and their functions, by full name."""
    found: dict[str, object] = {"fastbm": fastbm}
    for name in fastbm.__all__:
        if inspect.isclass(value := getattr(fastbm, name)) or inspect.ismodule(value):
            found |= {f"fastbm.{name}": value} | members(f"fastbm.{name}", value)
    return found


def members(prefix: str, owner) -> dict[str, object]:
    """Return the public classes and functions that this library defines in a module or a class."""
    names = [name for name in dir(owner) if not name.startswith("_")]
    values = {f"{prefix}.{name}": getattr(owner, name) for name in names}
    return {name: value for name, value in values.items() if is_ours(owner, value)}


def is_ours(owner, value) -> bool:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return False
    if inspect.ismodule(owner):  # a package's public names come from its own modules
        return f"{value.__module__}.".startswith(f"{owner.__name__}.")
    return value.__module__.startswith("fastbm")


def section(docstring: str, title: str) -> list[str]:
    """Return the lines of a numpydoc section, without its title."""
    parts = re.split(r"^(.+)\n-{3,}\n", docstring, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(title, "").splitlines()


def documented_names(docstring: str, title: str) -> list[str]:
    """Return the names that a section describes: the lines that are not indented; one such line may hold several."""
    lines = [line for line in section(docstring, title) if line and not line.startswith(" ")]
    return [name.strip() for line in lines for name in line.split(" : ")[0].split(",")]


def documented_defaults(docstring: str) -> dict[str, object]:
    """Return the defaults that the section of parameters names."""
    entries = (re.fullmatch(r"(\S.*?) : .*default=(.+)", line) for line in section(docstring, "Parameters"))
    return {name.strip(): ast.literal_eval(entry[2]) for entry in entries if entry for name in entry[1].split(",")}


def signature_names(function) -> list[str]:
    """Return the parameters, with the stars of ``*args`` and ``**kwargs``, without ``self``."""
    names = [
        str(each.replace(annotation=each.empty, default=each.empty)) for each in inspect.signature(function).parameters.values()
    ]
    return [name for name in names if name not in ("self", "cls")]


PUBLIC = public_objects()
CALLABLE = {name: value for name, value in PUBLIC.items() if callable(value)}


def test_the_public_objects_are_found():
    expected = {"fastbm.BernoulliRBM", "fastbm.BernoulliRBM.fit", "fastbm.BernoulliRBM.sample", "fastbm.BernoulliRBM.load"}
    expected |= {f"fastbm.{name}" for name in ("datasets", "evaluation", "plotting") if find_spec(f"fastbm.{name}")}
    expected |= {"fastbm.evaluation.log_partition", "fastbm.evaluation.LogPartition"}
    assert expected <= PUBLIC.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_there_is_a_docstring(name):
    assert PUBLIC[name].__doc__


@pytest.mark.parametrize("name", CALLABLE)
def test_parameters_are_those_of_the_signature(name):
    assert documented_names(inspect.getdoc(CALLABLE[name]), "Parameters") == signature_names(CALLABLE[name])


@pytest.mark.parametrize("name", CALLABLE)
def test_defaults_are_those_of_the_signature(name):
    parameters = inspect.signature(CALLABLE[name]).parameters
    documented = documented_defaults(inspect.getdoc(CALLABLE[name]))
    assert documented == {name: parameters[name].default for name in documented}


@pytest.fixture
def feature_names(monkeypatch):
    """Rows have feature names, as a data frame has, without a data frame library."""
    names = np.array(["left", "middle", "right"], dtype=object)
    monkeypatch.setattr("sklearn.utils.validation._get_feature_names", lambda X: names)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_attributes_are_those_of_a_fit(estimator, feature_names):
    machine = estimator(n_iter=1, random_state=0)
    if "algorithm" in machine.get_params():
        machine.set_params(algorithm="pt")  # with it there are the most
    if "standardize" in machine.get_params():
        machine.set_params(standardize=True)
    machine.fit(np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]]), [0, 0, 1, 1])
    computed = {name for name, value in inspect.getmembers(estimator) if isinstance(value, property)}
    fitted = {name for name in vars(machine).keys() | computed if name.endswith("_") and not name.startswith("_")}
    documented = documented_names(inspect.getdoc(estimator), "Attributes")
    assert sorted(documented) == sorted(fitted)


@pytest.mark.parametrize("name", [name for name in PUBLIC if ">>>" in (PUBLIC[name].__doc__ or "")])
def test_examples_run(name):
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    results = [runner.run(test) for test in finder.find(PUBLIC[name], name, globs={})]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0


def test_estimators_have_examples():
    assert all(">>>" in getattr(fastbm, name).__doc__ for name in fastbm.__all__ if name[0].isupper())


@pytest.mark.parametrize("name", PUBLIC)
def test_references_are_listed_where_they_are_cited(name):
    """Sphinx would not find them elsewhere."""
    docstring = inspect.getdoc(PUBLIC[name])
    cited, listed = re.findall(r"\[(\d+)\]_", docstring), re.findall(r"^\.\. \[(\d+)\]", docstring, re.MULTILINE)
    assert set(cited) == set(listed)


# ---------------------------------------------------------------------------------------- the parsing can find faults


def documented(a, *rest, l1=0.0, l2=0.0, **more):
    """Do nothing.

    Parameters
    ----------
    a : int
        With a colon : inside.
    *rest
    l1, l2 : float or {"a", "b"}, default=0.0
    **more
        The rest.

    Returns
    -------
    b : int
    """


def test_sections_are_parsed():
    docstring = inspect.getdoc(documented)
    assert documented_names(docstring, "Parameters") == ["a", "*rest", "l1", "l2", "**more"] == signature_names(documented)
    assert documented_defaults(docstring) == {"l1": 0.0, "l2": 0.0}
    assert documented_names(docstring, "Returns") == ["b"]
    assert documented_names(docstring, "Attributes") == []

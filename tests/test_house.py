"""The house: which floor may import which, where third parties live, and the rules of compiled code.

Every checker takes a dictionary from module names to sources and returns a list of faults, so that it can be tried on bad
sources too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastbm"
FLOORS = {
    "chain": 1, "device": 1, "kernels": 2, "units": 3, "nn": 3, "machines": 4, "training": 5, "evaluation": 5,
    "estimators": 6, "plotting": 6, "datasets": 6, "latent": 6, "": 7, "__main__": 7, "commands": 7,
}  # fmt: skip
"""The floor of each room; the room of ``fastbm`` itself has no name."""

CPU, GPU, PEERS = "fastbm.kernels.*_cpu", "fastbm.kernels.*_gpu", "fastbm.commands.peers"
THIRD_PARTIES = {
    **dict.fromkeys(["numba", "llvmlite"], (CPU,)),
    **dict.fromkeys(["cupy", "cupyx"], ("fastbm.device", GPU)),
    "sklearn": ("fastbm.estimators", "fastbm.estimators.*", "fastbm.datasets", PEERS, "fastbm.commands.bench"),
    "matplotlib": ("fastbm.plotting",),
    **dict.fromkeys(["joblib", "arviz"], ("fastbm.evaluation.*",)),
    **dict.fromkeys(["torch", "jax", "thrml"], (PEERS,)),
}
"""The modules that may import each third party."""


def read_sources() -> dict[str, str]:
    """Return the sources of the library, by module name; a package's ``__init__`` goes by the package's name."""
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        sources[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return sources


# --------------------------------------------------------------------------------------------------------- imports


def imported_names(source: str) -> Iterator[str]:
    """Yield the full names of all that a module imports, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and name_of(node.func) in ("import_module", "__import__") and node.args:
            yield literal_start(node.args[0])


def name_of(node: ast.AST) -> str:
    """Return the last part of a dotted name: "njit" for ``njit`` and ``numba.njit``; "" for anything else."""
    return getattr(node, "attr", getattr(node, "id", ""))


def literal_start(node: ast.AST) -> str:
    """Return a string constant, or what an f-string begins with."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    value = getattr(node, "value", "")
    return value.rstrip(".") if isinstance(value, str) else ""


def house_imports(sources: dict[str, str]) -> dict[str, set[str]]:
    """Return, for each module, the other modules of the library that it imports."""
    edges = {module: set() for module in sources}
    for module, source in sources.items():
        for name in imported_names(source):
            while name and name not in sources:
                name = name.rpartition(".")[0]
            if name and name != module:
                edges[module].add(name)
    return edges


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def find_relative_imports(sources):
    found = ((module, name) for module, source in sources.items() for name in imported_names(source))
    return [f"{module} imports {name}: write the full name" for module, name in found if name.startswith(".")]


def find_homeless(sources):
    return [f"{module} has no floor" for module in sources if room_of(module) not in FLOORS]


def find_upward_imports(sources):
    edges = house_imports(sources)
    return [
        f"{module} imports {other}, which is above it"
        for module, others in edges.items()
        for other in sorted(others)
        if FLOORS.get(room_of(other), 0) > FLOORS.get(room_of(module), 0)
    ]


def find_module_cycles(sources):
    return cycles(house_imports(sources))


def find_room_cycles(sources):
    """Rooms of one floor may import each other one way only."""
    edges: dict[str, set[str]] = {}
    for module, others in house_imports(sources).items():
        edges.setdefault(room_of(module), set()).update(room_of(other) for other in others)
    return cycles({room: others - {room} for room, others in edges.items()})


def cycles(edges: dict[str, set[str]]) -> list[str]:
    """Return what is left after taking away, again and again, whatever imports nothing that is left."""
    left = dict(edges)
    while free := [node for node, others in left.items() if not others & left.keys()]:
        for node in free:
            del left[node]
    return [f"{node} is part of a cycle, or imports one: {sorted(others & left.keys())}" for node, others in left.items()]


def find_strangers(sources):
    """Third parties outside their rooms."""
    faults = []
    for module, source in sources.items():
        for party in sorted({name.split(".")[0] for name in imported_names(source)} & THIRD_PARTIES.keys()):
            if not any(fnmatch(module, room) for room in THIRD_PARTIES[party]):
                faults.append(f"{module} imports {party}")
    return faults


# --------------------------------------------------------------------------------------------------- compiled code

RANDOM, JIT = ("np.random", "numpy.random"), ("njit", "jit")


def cpu_trees(sources) -> Iterator[tuple[str, ast.Module]]:
    return ((module, ast.parse(source)) for module, source in sources.items() if fnmatch(module, CPU))


def find_global_randomness(sources):
    faults = []
    for module, tree in cpu_trees(sources):
        used = any(isinstance(node, ast.Attribute) and ast.unparse(node) in RANDOM for node in ast.walk(tree))
        if used or any(name.startswith("numpy.random") for name in imported_names(sources[module])):
            faults.append(f"{module} uses np.random")
    return faults


def is_jit(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and name_of(node.func) in JIT


def jit_options(node: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


def find_bad_jit_options(sources):
    """Signatures, fastmath, and kernels (``nogil``) that are not compiled as ``compile_cpu.kernel`` does."""
    faults = []
    for module, tree in cpu_trees(sources):
        for node in filter(is_jit, ast.walk(tree)):
            options, place = jit_options(node), f"{module}:{node.lineno}"
            if node.args or "signature_or_function" in options:
                faults.append(f"{place}: njit with a signature")
            if "fastmath" in options or None in options:
                faults.append(f"{place}: njit with fastmath, or with options that cannot be read")
            if "nogil" in options and module != "fastbm.kernels.compile_cpu":
                faults.append(f"{place}: njit(nogil=...) instead of @kernel")
    return faults


def find_bad_shared_kernels(sources):
    """What ``share_out`` calls releases the GIL and is kept on disk, that is, decorated with ``compile_cpu.kernel``."""
    faults = []
    for module, tree in cpu_trees(sources):
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for caller in tree.body:
            assigned = {ast.unparse(node.targets[0]): node.value for node in ast.walk(caller) if isinstance(node, ast.Assign)}
            for node in ast.walk(caller):
                if isinstance(node, ast.Call) and name_of(node.func) == "share_out":
                    shared = assigned.get(ast.unparse(node.args[0]), node.args[0])
                    choices = [shared.body, shared.orelse] if isinstance(shared, ast.IfExp) else [shared]
                    if not all(is_kernel(functions.get(name_of(choice))) for choice in choices):
                        faults.append(f"{module}:{node.lineno}: {ast.unparse(node.args[0])} is not a kernel of this module")
    return faults


def is_kernel(function: ast.FunctionDef | None) -> bool:
    return function is not None and "kernel" in map(name_of, function.decorator_list)


# ------------------------------------------------------------------------------------------------------- contracts


CONTRACTS = ("fastbm.kernels", "fastbm.kernels.networks")


def find_broken_contracts(sources):
    """Public functions of the modules of contracts and their versions differ in the names, kinds or defaults of parameters."""
    modules = [module for module in sources if fnmatch(module, CPU) or fnmatch(module, GPU)]
    versions = [(module, functions_of(sources[module])) for module in modules]
    faults = []
    contracts = {name: parameters for module in CONTRACTS for name, parameters in functions_of(sources.get(module, "")).items()}
    for name, contract in contracts.items():
        found = {module: functions[name] for module, functions in versions if name in functions}
        if not any(fnmatch(module, CPU) for module in found):
            faults.append(f"{name} has no CPU version")
        faults += [f"{module}.{name} has other parameters than its contract" for module in found if found[module] != contract]
    return faults


def functions_of(source: str) -> dict[str, list[tuple]]:
    """Return the parameters of each public function of a module that is not compiled itself."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    plain = [node for node in functions if not any(is_jit(each) or name_of(each) in JIT for each in node.decorator_list)]
    return {node.name: parameters_of(node.args) for node in plain}


def parameters_of(arguments: ast.arguments) -> list[tuple]:
    """Return (kind, name, default) of each parameter, in order."""
    positional = [("positional only", each.arg) for each in arguments.posonlyargs]
    positional += [("positional", each.arg) for each in arguments.args]
    defaults: list = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    named = [("keyword only", each.arg) for each in arguments.kwonlyargs]
    rest = [("*", arguments.vararg.arg, None)] if arguments.vararg else []
    rest += [("**", arguments.kwarg.arg, None)] if arguments.kwarg else []
    pairs = zip(positional + named, defaults + arguments.kw_defaults, strict=True)
    return [(*pair, default and ast.unparse(default)) for pair, default in pairs] + rest


# ----------------------------------------------------------------------------------------------------------- tests

CHECKERS = [
    find_relative_imports, find_homeless, find_upward_imports, find_module_cycles, find_room_cycles, find_strangers,
    find_global_randomness, find_bad_jit_options, find_bad_shared_kernels, find_broken_contracts,
]  # fmt: skip


@pytest.fixture(scope="module")
def sources():
    return read_sources()


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_library_keeps_the_house(checker, sources):
    assert checker(sources) == []


def test_the_library_is_what_is_read(sources):
    assert {"fastbm", "fastbm.chain", "fastbm.kernels", "fastbm.kernels.gibbs_cpu", "fastbm.estimators.rbm"} <= sources.keys()
    assert "fastbm.chain" in house_imports(sources)["fastbm.machines.rbm"]
    assert {"gibbs", "phases", "ascend"} <= functions_of(sources["fastbm.kernels"]).keys()
    assert {"activate", "batch_norm", "adam"} <= functions_of(sources["fastbm.kernels.networks"]).keys()


KERNEL = "@kernel\ndef run(first, last): pass\ndef f(a): share_out(run, 1, 1)\n"
CHOICE = (
    "@kernel\ndef run(first, last): pass\n@kernel\ndef walk(first, last): pass\n"
    "def f(a):\n    chosen = run if a else walk\n    share_out(chosen, 1, 1)\n"
)

BAD_IMPORTS = [
    (find_relative_imports, "fastbm.units", "from . import bernoulli"),
    (find_homeless, "fastbm.helpers", ""),
    (find_upward_imports, "fastbm.machines.rbm", "import fastbm.training"),
    (find_upward_imports, "fastbm.machines.rbm", "from fastbm import training"),
    (find_upward_imports, "fastbm.chain", "def f():\n    from fastbm.training import step"),
    (find_upward_imports, "fastbm.chain", "import_module('fastbm.training')"),
    (find_upward_imports, "fastbm.chain", "importlib.import_module(f'fastbm.training.{name}')"),
    (find_upward_imports, "fastbm.estimators.rbm", "from fastbm import __version__"),
    (find_module_cycles, "fastbm.machines", "def f(): import fastbm.training"),
    (find_room_cycles, "fastbm.machines.rbm", "import fastbm.training"),
    (find_strangers, "fastbm.kernels", "import numba"),
    (find_strangers, "fastbm.kernels.gibbs", "from llvmlite import ir"),
    (find_strangers, "fastbm.kernels.gibbs_cpu", "import cupy as cp"),
    (find_strangers, "fastbm.machines.rbm", "def f():\n    from sklearn.utils import check_array"),
    (find_strangers, "fastbm.estimators.rbm", "import matplotlib.pyplot as plt"),
    (find_strangers, "fastbm.commands.demo", "from matplotlib import pyplot"),
    (find_strangers, "fastbm.commands.bench", "import_module('torch')"),
    (find_strangers, "fastbm.evaluation.ais", "import jax.numpy as jnp"),
    (find_strangers, "fastbm.training.greedy", "from joblib import Parallel"),
    (find_strangers, "fastbm.plotting", "def f():\n    import arviz"),
    (find_strangers, "fastbm.machines.rbm", "import thrml"),
]
SOUND = {"fastbm": "", "fastbm.machines": "", "fastbm.training": "import fastbm.machines"}

BAD_KERNELS = [
    (find_global_randomness, "x = np.random.rand()"),
    (find_global_randomness, "from numpy import random"),
    (find_global_randomness, "from numpy.random import default_rng"),
    (find_bad_jit_options, "@njit(fastmath=True)\ndef f(): pass"),
    (find_bad_jit_options, "@njit(**options)\ndef f(): pass"),
    (find_bad_jit_options, "@njit('f8(f8)')\ndef f(x): pass"),
    (find_bad_jit_options, "@numba.njit([float64(float64)])\ndef f(x): pass"),
    (find_bad_jit_options, KERNEL.replace("@kernel", "@njit(nogil=True)")),
    (find_bad_jit_options, KERNEL.replace("@kernel", "@njit(nogil=True, cache=True)")),
    (find_bad_shared_kernels, KERNEL.replace("@kernel", "@njit")),
    (find_bad_shared_kernels, KERNEL.replace("@kernel\n", "")),
    (find_bad_shared_kernels, KERNEL.replace("share_out(run,", "share_out(other,")),
    (find_bad_shared_kernels, CHOICE.replace("@kernel\ndef walk", "@njit\ndef walk")),
    (find_bad_shared_kernels, CHOICE.replace("else walk", "else other")),
    (find_bad_shared_kernels, CHOICE.replace("chosen = run if a else walk", "chosen = a")),
    (find_bad_shared_kernels, CHOICE.replace("share_out(chosen", "share_out(run if a else other")),
    (find_broken_contracts, ""),
    (find_broken_contracts, "def g(a, b): pass"),
    (find_broken_contracts, "def g(b, *, a): pass"),
    (find_broken_contracts, "def g(a, *, b=1): pass"),
    (find_broken_contracts, "@njit\ndef g(a, *, b): pass"),
]


@pytest.mark.parametrize(("checker", "module", "source"), BAD_IMPORTS)
def test_a_checker_finds_a_bad_import(checker, module, source):
    assert checker(SOUND) == []
    assert checker(SOUND | {module: source}) != []


@pytest.mark.parametrize(("checker", "source"), BAD_KERNELS)
def test_a_checker_finds_a_bad_kernel(checker, source):
    assert checker({"fastbm.kernels": "def g(a, *, b): pass", "fastbm.kernels.a_cpu": source}) != []


def test_a_gpu_version_keeps_the_contract():
    same = dict.fromkeys(["fastbm.kernels", "fastbm.kernels.a_cpu"], "def g(a): pass")
    assert len(find_broken_contracts(same | {"fastbm.kernels.a_gpu": "def g(a, b): pass"})) == 1


def test_rooms_may_not_import_each_other_in_a_ring_of_different_modules():
    ring = {"fastbm.training.a": "import fastbm.evaluation.b", "fastbm.evaluation.b": ""}
    assert find_room_cycles(ring) == []
    ring |= {"fastbm.evaluation.c": "import fastbm.training.d", "fastbm.training.d": ""}
    assert find_room_cycles(ring) != []
    assert find_module_cycles(ring) == []


GOOD_SOURCES = {
    "fastbm": "from importlib import import_module",
    "fastbm.chain": "import numpy as np\nrng = np.random.default_rng",
    "fastbm.kernels": "from fastbm import chain\ndef f(a): import_module(f'fastbm.kernels.{name}_cpu')\ndef _private(a): pass",
    "fastbm.kernels.a_cpu": "import numba\nfrom fastbm import chain\n" + KERNEL + "@njit\ndef helper(x): pass\n",
    "fastbm.kernels.b_cpu": CHOICE,
    "fastbm.training.a": "from fastbm.evaluation.b import score",
    "fastbm.evaluation.b": "from fastbm.kernels import f\nfrom fastbm import chain",
    "fastbm.commands.demo": "from fastbm import BernoulliRBM, plotting",
    "fastbm.plotting": "import matplotlib",
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_finds_no_fault_where_there_is_none(checker):
    assert checker(GOOD_SOURCES) == []


def test_every_checker_is_tried_on_a_bad_source():
    assert {checker for checker, *_ in BAD_IMPORTS + BAD_KERNELS} == set(CHECKERS)

#!/usr/bin/env bash
# On a machine with a GPU, from the checkout, in under nine minutes: parity of kernels and estimators, and the table.
# Needs python3 with cupy, numba, scikit-learn, torch and pytest, nothing installed of fastbm itself.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=.:benchmarks
status=0
timeout 300 python3 -m pytest -q -m gpu tests -p no:cacheprovider || status=1
timeout 60 python3 -m fastbm bench || status=1
timeout 180 python3 benchmarks/gpu_table.py --rounds 5 || status=1
exit $status

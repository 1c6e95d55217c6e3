"""Products of matrices by cuBLAS, of types that CuPy's matmul does not take: halves and bfloat16, summed in float32.

A product is the same bit for bit whenever it is made on the same kind of GPU by the same version of cuBLAS, on one stream.
"""

import cupy
import numpy as np
from cupy_backends.cuda.libs import cublas

KINDS = {"float16": 2, "uint16": 14, "float32": 0}
"""What CUDA calls the types; an array of uint16 holds bfloat16, which CuPy has no name for."""
ONE, ZERO = np.ones(1, np.float32), np.zeros(1, np.float32)


def multiply(
    left, right, out, *, transposed: bool = False, transposed_right: bool = False, add: bool = False
) -> None:  # fmt: skip
    """out ← left @ right, or of the transposes, or that added; C-contiguous, `out` float32. Nothing may be empty."""
    n_inner, n_rows = left.shape if transposed else left.shape[::-1]
    n_columns, kind = out.shape[1], KINDS[left.dtype.name]
    operations = [cublas.CUBLAS_OP_T if each else cublas.CUBLAS_OP_N for each in (transposed_right, transposed)]
    handle = cupy.cuda.device.get_cublas_handle()
    cublas.setPointerMode(handle, cublas.CUBLAS_POINTER_MODE_HOST)
    cublas.gemmEx(  # of the transposes, because cuBLAS counts by columns
        handle, *operations, n_columns, n_rows, n_inner, ONE.ctypes.data, right.data.ptr, kind, right.shape[1],
        left.data.ptr, kind, left.shape[1], (ONE if add else ZERO).ctypes.data, out.data.ptr, KINDS["float32"], n_columns,
        cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip

"""What makes training quick on a CPU: memory that is kept, attention as plain products."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Names of glibc's malloc.h."""
TOP = 256 * 2**20


def keep_memory() -> bool:
    """Lets this process keep freed memory for its next step; False where malloc is not glibc's.

    As delivered, glibc takes each large tensor fresh from the kernel and gives it back, and every
    step pays for its pages again: on a virtual machine more than for what is computed in them.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, TOP))
    return all([mallopt(name, value) == 1 for name, value in settings])


@contextmanager
def plain_attention() -> Iterator[None]:
    """Runs SDPA as two products around a softmax on a CPU.

    torch's fused kernel saves memory, but its backward pass takes some eight times as long at the
    lengths we train on. A GPU keeps its own kernels.
    """
    if torch.cuda.is_available():
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    # Without this, halves are widened to fp32 first; the switch is the CPU's too.
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)

"""Kinds of experiments, one a file; adding a file adds its command, its yamls and its table."""

from importlib import import_module
from pkgutil import iter_modules

from benchmarks.experiment import KINDS

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["KINDS"]

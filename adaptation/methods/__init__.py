"""Every way a module changes a base, one file each; dropping in a file registers it."""

from importlib import import_module
from pkgutil import iter_modules

from adaptation.methods.method import METHODS, Method, MethodConfig

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")

__all__ = ["METHODS", "Method", "MethodConfig"]

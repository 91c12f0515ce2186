"""Every family of bases, one file each; dropping in a file registers it."""

from importlib import import_module
from pkgutil import iter_modules

from adaptation.architectures.architecture import Architecture, Sublayer, Tower
from adaptation.architectures.encoder import EncoderArchitecture
from adaptation.architectures.loading import family_of, load_base
from adaptation.architectures.m2m100 import M2M100Architecture, TranslatorArchitecture

for _found in iter_modules(__path__):
    import_module(f"{__name__}.{_found.name}")

__all__ = [
    "Architecture",
    "EncoderArchitecture",
    "M2M100Architecture",
    "Sublayer",
    "Tower",
    "TranslatorArchitecture",
    "family_of",
    "load_base",
]

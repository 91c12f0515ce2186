"""Modules in torch: what they change in a base, one file a method, one a family of bases."""

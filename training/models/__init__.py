"""Vocabularies, bases and the language identifier: what modules are put on."""

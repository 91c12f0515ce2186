"""Vocabularies, bases, the language identifier, and the pairs that a base makes of text."""

"""Corpora, tokenizers, bases, modules: everything that needs gradients or raw text."""

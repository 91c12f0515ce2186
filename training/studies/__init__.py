"""Studies: many arms × seeds of the training commands, and whether their scores differ."""

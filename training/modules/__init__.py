"""Language and task modules over a frozen base."""

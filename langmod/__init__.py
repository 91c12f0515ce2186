"""What all stages share, in numpy alone: contracts, errors, languages, text, tasks, stores."""

__version__ = "0.1.0"

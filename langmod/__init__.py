"""What all stages share, in numpy alone: contracts, errors, languages, text, tasks, stores."""

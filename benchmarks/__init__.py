"""Speed, measured side by side: experiments in yaml, results in JSON, tables in the README."""

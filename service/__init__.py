"""The BentoML service: one base in memory, modules chosen per request."""

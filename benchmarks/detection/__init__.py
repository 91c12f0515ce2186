"""Which language a short text is in: our detection beside other libraries'."""

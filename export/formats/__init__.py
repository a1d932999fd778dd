"""One file a format: what writes it, and what `fiqa-export inspect` says of it."""

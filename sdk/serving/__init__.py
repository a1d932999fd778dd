"""The service of `fiqa serve`: pictures in by HTTP, scores out as JSON."""

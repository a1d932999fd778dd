"""The page of `fiqa video` and its small HTTP server."""

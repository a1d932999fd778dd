"""fiqa's SDK: score face images."""

"""Labels of many images: the runner, its journal, and where batches are computed."""

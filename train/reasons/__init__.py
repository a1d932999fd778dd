"""The network behind reasons: which damage a face has, how strong, and how far the head is turned."""

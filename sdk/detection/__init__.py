"""Face detection: networks, boxes, and the detector that runs a network at several scales."""

"""The stages of a pipeline: reading, detection, tracking, scoring.

A stage takes from one channel and puts into the next. A frame that finds no place is counted as dropped.
"""

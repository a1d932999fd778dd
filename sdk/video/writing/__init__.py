"""Write files while a stream runs: results, the video with its overlay, best shots.

A full disk is an `OutputError`, which ends the run. What was written until then is whole: lines are cut back to the
last whole one, and other files get their name only when they are complete. No run empties a file of another: lines are
added to those that are there, and a Parquet table or a video that is there is refused.
"""

"""What an evaluation writes: tables, plots, contact sheets, and a summary of many."""

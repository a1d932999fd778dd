"""Results by group of people."""

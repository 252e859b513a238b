"""Runs that others measured, read from the files that their meters leave, and kept beside ours."""

"""Pieces of the HTML page: its words, its tables, the numbers of its pictures; in `assets`, its style and scripts."""

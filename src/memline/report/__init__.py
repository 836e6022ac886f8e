"""Seeing a program's memory: one versioned record, and the pages that are made from it."""

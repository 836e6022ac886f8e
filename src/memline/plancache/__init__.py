"""The plan cache on disk: what one process searched for, the next one reads."""

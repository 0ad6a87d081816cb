"""Readers of SQL dialects, each on the real grammar of its server."""

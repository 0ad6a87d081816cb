"""Hiding sensitive content: detectors find it, strategies replace it, the masker streams."""

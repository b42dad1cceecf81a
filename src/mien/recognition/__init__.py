"""Recognising: from images to results."""

"""Recognising: from pictures to results."""

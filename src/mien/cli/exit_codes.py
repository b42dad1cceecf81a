"""Exit codes of the command line beside 0: 2 is a user's mistake, by `main`, and these."""

NOT_ALL_READ = 3
"""Done, but some images or records could not be used; each is named with its reason."""

INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells have it."""

"""Exit codes of the command line beside 0: 2 is a user's mistake, by `main`, and this one."""

NOT_ALL_READ = 3
"""Done, but some pictures or records could not be used; each is named with its reason."""

"""Published weights of other projects: their files read without running anything of them, and their names matched."""

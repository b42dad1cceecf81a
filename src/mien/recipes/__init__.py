"""The shipped training recipes, as TOML."""

"""The files that `mien init` writes: a commented mien.toml for each kind of data."""

"""Readers of the layouts that data sets come in; `mien.data.readers` chooses among them."""

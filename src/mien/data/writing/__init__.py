"""Writers of the layouts that other programs read; `mien.data.export` chooses among them."""

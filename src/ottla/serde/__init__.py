"""How values become bytes and bytes values; one module a format."""

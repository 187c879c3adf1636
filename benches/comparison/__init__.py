"""The code of `benches/compare`. It begins in `main`."""

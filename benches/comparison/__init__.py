"""What `benches/compare` is made of; `main` is where to begin reading."""

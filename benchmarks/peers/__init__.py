"""What benchmarks measure us against, where it takes more than a few lines."""

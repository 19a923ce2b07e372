"""Search strategies, one method a file; each is registered by its YAML in `configs/strategy/`."""

"""Search spaces; each is one importable module, named by its YAML in `configs/space/`."""

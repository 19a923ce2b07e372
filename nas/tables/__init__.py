"""Benchmark tables: results of architectures that were trained before, to be looked up instead of trained anew."""

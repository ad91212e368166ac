"""Measurements: reproductions of published systems (`hiddencodes.benchmarks.papers`), and scripts about speed."""

"""Benchmarks: suites, baselines, the audit of splits, runs that continue, reports beside published figures."""

"""Benchmarks: suites, baselines, the audit of splits, resumable runs, reports next to published figures."""

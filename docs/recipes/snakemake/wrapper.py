"""Snakemake wrapper of `findna split`, `embed`, `classify`, `score` and `merge`; meta.yaml describes it."""

from snakemake.shell import shell

job = snakemake  # noqa: F821
named = {name: job.input.get(name) for name in ("genome", "plan") if job.input.get(name)}
if job.params.command not in ("split", "merge"):
    named["threads"] = job.threads
flags = [word for name, value in named.items() for word in (f"--{name}", str(value))]
log = job.log_fmt_shell(stdout=True, stderr=True)
inputs = job.input.inputs
shell("findna {job.params.command} {inputs:q} {flags:q} {job.params.extra} --out {job.output:q} --quiet {log}")

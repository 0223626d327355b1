"""`findna doctor`: what is installed, what the machine can do, and what is missing."""

import typer

from findna_cli.console import show_facts, write_report
from findna_cli.options import Json, ModelName, Quiet


def doctor(json_file: Json = None, quiet: Quiet = False, model: ModelName = None) -> None:
    """Check versions, devices and the default model.

    The exit code is 1 if the model fails the check.
    """
    from findna.commands import models
    from findna_cli.model import print_checks

    facts = models.machine_facts()
    if not quiet:
        show_facts(facts)
    name, checks = models.check_model(model or "")
    if not quiet:
        print_checks(name, checks)
    write_report(json_file, {"machine": facts, "model": name, "checks": checks})
    if not all(check["ok"] for check in checks):
        raise typer.Exit(1)

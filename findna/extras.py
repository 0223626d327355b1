"""Optional packages: imported where they are needed, with an error that says how to install them."""

import sys
from importlib import import_module
from typing import Any

from findna import phases
from findna.errors import MissingExtraError


def need(*modules: str, extra: str, purpose: str, package: str = "") -> Any:
    """Import these modules of an optional package.

    Args:
        modules: Their names, of one package.
        extra: The extra of findna that installs it.
        purpose: What needs it.
        package: Its name, if it differs from that of the module.

    Raises:
        MissingExtraError: One cannot be imported.

    >>> need("json.decoder", extra="data", purpose="a test").__name__
    'json'
    """
    root = modules[0].partition(".")[0]
    if root not in sys.modules:
        phases.enter(f"loading {package or root}")
    try:
        found = import_module(root)
        for name in modules:
            import_module(name)
    except ImportError as error:
        raise MissingExtraError(package or root, extra=extra, purpose=purpose) from error
    return found


def need_sklearn(purpose: str) -> None:
    """Raise a MissingExtraError unless scikit-learn is installed."""
    need("sklearn", extra="bench", purpose=purpose, package="scikit-learn")

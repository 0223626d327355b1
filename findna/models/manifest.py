"""The text of a `config.json`: JSON with the sha256 of its own content, so that a changed setting is noticed."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from findna.errors import ModelError

DIGEST = "digest"
"""Field of a `config.json` with the sha256 of all other fields. Folders of earlier versions do not have it."""


def digest_of(config: Mapping[str, Any]) -> str:
    """The sha256 of a config's content as canonical JSON: sorted keys, no blanks, without the digest itself.

    >>> digest_of({"a": 1, "b": (2,)}) == digest_of({"b": [2], "a": 1, "digest": "x"})
    True
    """
    content = {name: value for name, value in config.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def config_text(config: Mapping[str, Any]) -> str:
    """A config as the text of its file, with its digest; each list of numbers is on one line."""
    text = json.dumps({**config, DIGEST: digest_of(config)}, indent=2)
    # A JSON string has no line ends, so only lists match.
    return re.sub(r"\[\n[\s\d.,eE+-]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def check_digest(config: Mapping[str, Any], what: str) -> None:
    """Compare a config with the digest in it, if there is one.

    Args:
        config: Content of a `config.json`.
        what: Its owner, for the message: "model PATH".

    Raises:
        ModelError: Something in it was changed.
    """
    if DIGEST in config and config[DIGEST] != (found := digest_of(config)):
        raise ModelError(
            f"{what}: the content of config.json has sha256 {found[:12]}..., its digest says "
            f"{str(config[DIGEST])[:12]}...: the file is damaged or was edited; copy the folder again"
        )

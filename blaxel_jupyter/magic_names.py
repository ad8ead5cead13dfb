"""Tell which names may stand in a magic's line as they are.

Names come from servers and workloads. In a magic's line IPython runs ``{…}`` and ``$…`` as Python and
``shlex`` reads quotes, so a name with any of these is neither completed nor put into a command to copy.
Pure; imported by what completes and by what tells the user what to type.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[\w.:@%+=/~,][\w.:@%+=/~,-]{0,199}", re.ASCII)


def is_plain_name(name: str) -> bool:
    """Tell whether a name means itself in a magic's line: no blank, quote, brace, ``$`` or first ``-``."""
    return _PLAIN.fullmatch(name) is not None


def typed(name: str, instead: str) -> str:
    """Return the name where it may be typed, else ``instead``, what it stands for."""
    return name if is_plain_name(name) else instead

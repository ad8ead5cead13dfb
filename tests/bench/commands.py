"""The shell commands that the benchmarks run, and what they print."""

from __future__ import annotations

import shlex

FLOOD_LINES = 400_000
_FIRST = 10**48


def _python(program: str) -> str:
    return f"python3 -u -c {shlex.quote(program)}"


FLOOD = f"seq {_FIRST} {_FIRST + FLOOD_LINES - 1}; sleep 60"
"""20,000,000 bytes (lines of 50, no two alike) as fast as seq can, then alive for a minute."""


def flood_lines() -> list[str]:
    """Return the lines of ``FLOOD``."""
    return [str(_FIRST + number) for number in range(FLOOD_LINES)]


DELAY = _python(
    "import time\ntime.sleep(1)\nfor i in range({count}): print(time.time(),flush=True);time.sleep(.1)"
)
QUIET = _python(
    "import os,time\n"
    "os.write(1,b''.join(b'%08d %s\\n'%(i,b'q'*40) for i in range(200000)))\n"
    "for i in range({count}): print('tick',i,flush=True);time.sleep(1)\n"
    "print('the end',flush=True);time.sleep(1)"
)

SCENARIOS = {
    "hello": "echo Hello",
    "burst_20k": "seq -f 'line %06.0f abcdefgh' 1 20000",
    "both_fast": _python(
        "import os\nfor i in range(400): os.write(1+i%2,b'%d line %04d\\n'%(1+i%2,i))"
    ),
    "partial": (
        "printf 'one\\ntwo\\n'; sleep 0.4; printf par; sleep 0.4; printf tial; sleep 0.4; printf '\\nnext'; "
        "sleep 0.3; printf ' and more\\n'; echo oops >&2; sleep 0.3; printf 'prompt> '; sleep 0.2; "
        "echo err >&2; sleep 0.3; printf 'answer\\n'"
    ),
    "utf8_90k": _python("import os\nos.write(1,('\\u20ac'*39+'\\n').encode()*750)"),
    "unterminated_exit7": (
        "echo first; sleep 0.6; echo second; echo err >&2; printf 'last without newline'; exit 7"
    ),
    "lookalike": _python(
        "import os,time\n"
        "for t in ['stdout:fake','stderr:fake','[keepalive]','[keepalive] mine','plain',"
        "'[... truncated, see the process log file for the full output ...]']:\n"
        " os.write(1,t.encode()+b'\\n');time.sleep(.12)\n"
        "os.write(1,b'stdout:a\\nstderr:b\\n[keepalive]\\nend\\n')"
    ),
    "bar_and_lines": _python(
        "import os,time\n"
        "for i in range(12):\n"
        " os.write(2,b'\\r%3d%%'%(i*9));os.write(1,b'step %d\\n'%i);time.sleep(.1)\n"
        "os.write(2,b'\\n')"
    ),
    "quiet_partial_35s": "echo start; printf '50%%'; sleep 35; printf ' 60%%\\n'; echo end",
    "ticks_70s_crlf": _python(
        "import os,time\n"
        "for i in range(70): os.write(1,b'out %d\\r\\n'%i);os.write(2,b'err %d\\r\\n'%i);time.sleep(1)"
    ),
}
"""The ten scenarios of protocol 5.6."""

"""A network that goes wrong on purpose: plans of faults, made from seeds, and a proxy that carries them out.

    python -m tests.faults --plans 1000          # seeds 0 to 999
    python -m tests.faults --seed 417            # one plan again, with what it did

Each plan starts a process whose output is made from the same seed, follows it through the proxy, and
compares: ``stdout_bytes`` and ``stderr_bytes`` are what the process wrote, or ``integrity`` is ``gap`` and
the bytes that are missing add up.
"""

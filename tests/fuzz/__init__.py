"""Bytes that nobody would send, into every decoder, with the property that must hold whatever they are.

    python -m tests.fuzz --seconds 60                  # the coverage-guided fuzzer, each target in turn
    python -m tests.fuzz --seconds 600 --target sse    # one target
    python -m tests.fuzz --repeat FILE                 # what was found, once more

``seeds/<target>/`` has beginnings for each target and an example of everything that was ever found;
``tests/test_fuzz.py`` replays them all and adds some hundred examples of hypothesis for each target.
"""

"""What must be endured: being cancelled anywhere, long use, hours of cuts, full disks, clocks that jump.

    python -m tests.endure awaits                # every client operation, cancelled at each of its awaits
    python -m tests.endure cells --cells 500     # a notebook that runs and runs: what grows
    python -m tests.endure interrupts            # cells interrupted at many moments
    python -m tests.endure soak --hours 1        # 2,000 lines a second, a cut every 20 s

Scaled down, each of them is a test of the default run.
"""

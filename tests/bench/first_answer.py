"""Time from starting the program to its first answer, page cache warm: what a command or a new service waits for.

usage: first_answer.py RTAI ENGINE [RUNS]
"""
import statistics
import subprocess
import sys
import time

rtai, engine, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 30


def once():
    start = time.perf_counter()
    subprocess.run([rtai, "run", engine, "play the new album by westbam on google music"], check=True,
                   capture_output=True)
    return (time.perf_counter() - start) * 1e3


once()
times = sorted(once() for _ in range(runs))
print(f"{engine}: median {statistics.median(times):.1f} ms, worst {times[-1]:.1f} ms of {runs} starts")

"""Replicas behind docs/haproxy.cfg are killed while clients ask: nobody sees it.

usage: haproxy_test.py RTAI REPOSITORY [SECONDS [KILL_EVERY]]
Exits with 77 (skipped) where haproxy is not installed.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

RTAI = str(pathlib.Path(sys.argv[1]).resolve())
ROOT = pathlib.Path(sys.argv[2]).resolve()
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 8
KILL_EVERY = float(sys.argv[4]) if len(sys.argv) > 4 else 1.5


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replica(engine, port):
    return subprocess.Popen([RTAI, "serve", str(engine), "--port", str(port), "--threads", "1", "--quiet"])


def wait_for(port, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"nothing listens at {port}")


def main():
    haproxy = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if haproxy is None:
        print("skipped: haproxy is not installed")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rtai-haproxy-") as folder:
        folder = pathlib.Path(folder)
        engine = folder / "demo.rtai"
        subprocess.run([RTAI, "compile", ROOT / "models" / "demo-snips", "-o", engine, "--quiet"], check=True)
        ports = {8000: free_port(), 8001: free_port(), 8002: free_port()}
        text = (ROOT / "docs" / "haproxy.cfg").read_text()
        for standard, port in ports.items():
            assert f"127.0.0.1:{standard}\n" in text
            text = text.replace(f"127.0.0.1:{standard}\n", f"127.0.0.1:{port}\n")
        config = folder / "haproxy.cfg"
        config.write_text(text)
        processes = {port: replica(engine, port) for port in (ports[8001], ports[8002])}
        for port in processes:
            wait_for(port)
        proxy = subprocess.Popen([haproxy, "-f", str(config)], stderr=subprocess.DEVNULL)
        try:
            wait_for(ports[8000])
            time.sleep(0.6)  # the first health checks
            load = subprocess.Popen([RTAI, "bench", f"http://127.0.0.1:{ports[8000]}", "--rate", "100", "--connections", "16",
                                     "--duration", f"{SECONDS}s", "--json", "-"], stdout=subprocess.PIPE, text=True)
            kills, end = 0, time.monotonic() + SECONDS
            while time.monotonic() + KILL_EVERY < end:
                time.sleep(KILL_EVERY)
                port = sorted(processes)[kills % 2]
                # kill -9 at once, or a hang that the health checks must notice first.
                hangs = kills % 4 == 3
                processes[port].send_signal(signal.SIGSTOP if hangs else signal.SIGKILL)
                if hangs:
                    time.sleep(min(1.0, KILL_EVERY / 2))
                    processes[port].kill()
                processes[port].wait()
                processes[port] = replica(engine, port)
                wait_for(port)
                kills += 1
            result = json.loads(load.communicate(timeout=60)[0])["results"][0]
            print(f"{result['requests']} requests, {kills} replicas killed, {result['failed']} failed, statuses {result['statuses']}, "
                  f"p50 {result['latency_ms']['p50']:.2f} ms, p99 {result['latency_ms']['p99']:.2f} ms")
            assert kills >= 3 and result["failed"] == 0 and result["statuses"] == {"200": result["requests"]}
        finally:
            proxy.kill()
            proxy.wait()
            for process in processes.values():
                process.kill()
                process.wait()


main()

"""Measures `rtai serve` against the promises of docs/serving.md, row by row.

usage: serve_campaign.py RTAI ENGINE TEXTS [--full-engine F --fast-engine G] [--seconds N] [--rows a,b,...]
Rows: throughput, load, overload, promise, drain, reload, slow, soak. Everything runs on this machine, the client
beside the server: what the client takes, the server lacks. The whole campaign with --seconds 60 takes about
an hour with `soak` (20 minutes of it); single rows are for the impatient.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools" / "serve"))
from server import Load, Server, until  # noqa: E402


PATIENT = ("--queue-time", "2s")


class Campaign:
    def __init__(self, flags):
        self.flags = flags
        self.texts = [line for line in pathlib.Path(flags.texts).read_text().splitlines() if line.strip()]
        self.lengths = None

    def run(self, *args):
        done = subprocess.run([self.flags.rtai, *map(str, args)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def bench(self, server, *args):
        return self.run("bench", server.url(), "--data", self.flags.texts, "--json", "-", *args)["results"][0]

    def say(self, row, **figures):
        print(json.dumps({"row": row, **figures}), flush=True)

    def token_lengths(self, folder):
        """Tokens of each text, as a file for `rtai bench --lengths`."""
        lines = subprocess.run([self.flags.rtai, "run", self.flags.engine, "--data", self.flags.texts, "--json", "--logits"],
                               capture_output=True, text=True, check=True).stdout.splitlines()
        path = pathlib.Path(folder) / "lengths.txt"
        path.write_text("".join(f"{len(json.loads(line)['input_ids'])}\n" for line in lines))
        return path

    def closed_loop(self, server, seconds):
        """What the server answers to 64 connections that ask again as soon as they are answered. Its queue must hold them
        all (PATIENT): a client that is refused and asks again at once keeps the server busy with refusals."""
        return self.bench(server, "--connections", 64, "--duration", f"{seconds}s")["throughput_per_s"]

    def windows(self, engine=None):
        """What a server answers in each of several windows, the fewest first: a clock that rises for a moment, or a neighbour
        on the same core, makes them differ."""
        with Server(self.flags.rtai, engine or self.flags.engine, *PATIENT) as server:
            self.closed_loop(server, 1)
            return sorted(self.closed_loop(server, 1) for _ in range(15))

    def capacity(self, engine=None):
        return statistics.median(self.windows(engine))

    def throughput(self):
        """Closed loop over HTTP against batches without it, in turn: (share, http, batches) per second."""
        rounds = 3
        with tempfile.TemporaryDirectory() as folder:
            lengths = self.token_lengths(folder)
            http, plain = [], []
            with Server(self.flags.rtai, self.flags.engine, *PATIENT) as server:
                self.closed_loop(server, 2)
                for _ in range(rounds):
                    http.append(self.closed_loop(server, self.flags.seconds / 2 / rounds))
                    plain.append(self.run("bench", self.flags.engine, "--batch", 64, "--lengths", lengths, "--duration",
                                          f"{self.flags.seconds / 2 / rounds}s", "--json", "-")["results"][0]["throughput_per_s"])
        http, plain = sorted(http)[rounds // 2], sorted(plain)[rounds // 2]
        self.say("throughput", http_per_s=http, batches_per_s=plain, share=http / plain)
        return http

    def one_at_a_time(self, server):
        return self.bench(server, "--connections", 1, "--duration", "3s")

    def load(self):
        """p99 at 70 % of the closed-loop throughput, against the latency of one request alone: the median of five windows, since
        a machine whose clock falls for a moment, or that works for a neighbour, holds more than 70 % of nothing then. What the
        server can do in the second slowest window is what it can hold; 70 % of the median may be more than all of that."""
        windows = self.windows()
        for name, capacity in (("what can be held", windows[1]), ("median", windows[len(windows) // 2])):
            with Server(self.flags.rtai, self.flags.engine) as server:
                alone = self.one_at_a_time(server)["latency_ms"]
                loaded = [self.bench(server, "--rate", 0.7 * capacity, "--duration", f"{self.flags.seconds / 10}s") for _ in range(5)]
            p50, p99 = (sorted(window["latency_ms"][key] for window in loaded) for key in ("p50", "p99"))
            self.say("load", of=name, capacity_per_s=capacity, windows_per_s=[round(w) for w in windows],
                     alone_p50_ms=alone["p50"], alone_p99_ms=alone["p99"], loaded_p50_ms=p50[2], loaded_p99_ms=p99[2], p99_of_windows_ms=p99,
                     statuses=[window["statuses"] for window in loaded])

    def overload(self):
        """Five times the capacity: those accepted, those refused, memory, recovery."""
        capacity = self.capacity()
        with Server(self.flags.rtai, self.flags.engine, "--queue-time", self.flags.queue_time) as server:
            alone = self.one_at_a_time(server)
            before = server.metrics()["process_resident_memory_bytes"]
            over = self.bench(server, "--rate", 5 * capacity, "--connections", 256, "--duration", f"{self.flags.seconds}s")
            after = server.metrics()["process_resident_memory_bytes"]
            time.sleep(2)
            again = self.one_at_a_time(server)
        self.say("overload", capacity_per_s=capacity, accepted_p99_ms=over["latency_ms"]["p99"],
                 refused_p99_ms=(over["refused_latency_ms"] or {}).get("p99"), goodput_per_s=over["throughput_per_s"],
                 statuses=over["statuses"], failed=over["failed"], grown_mb=(after - before) / 1e6,
                 alone_p99_ms=alone["latency_ms"]["p99"], recovered_p99_ms=again["latency_ms"]["p99"])

    def promise(self):
        """A load that the full engine cannot hold, with and without a faster one."""
        full, fast = self.flags.full_engine, self.flags.fast_engine
        if not full or not fast:
            return self.say("promise", skipped="needs --full-engine and --fast-engine")
        with Server(self.flags.rtai, full) as server:
            alone = self.one_at_a_time(server)["latency_ms"]["p50"]
        capacity = self.capacity(full)
        promise_ms = round(5 * alone + 5)
        for name, engines in (("both", [full, fast]), ("full alone", [full]), ("fast alone", [fast])):
            with Server(self.flags.rtai, *engines, "--slo-p99", f"{promise_ms}ms", "--queue-time", "10s") as server:
                found = self.bench(server, "--rate", 1.3 * capacity, "--connections", 128, "--duration", f"{self.flags.seconds / 2}s")
                metrics = server.metrics()
            kept, missed = (metrics[f'rtai_promise_total{{kept="{word}"}}'] for word in ("yes", "no"))
            self.say("promise", engines=name, promise_ms=promise_ms, rate_per_s=1.3 * capacity, kept_share=kept / max(kept + missed, 1),
                     client_p99_ms=found["latency_ms"]["p99"], by=found["engines"], statuses=found["statuses"])

    def drain(self):
        """SIGTERM under load, twenty times."""
        lost, answered, codes = [], 0, []
        for _ in range(20):
            with Server(self.flags.rtai, self.flags.engine) as server:
                load = Load(server, {"text": self.texts[0]}, threads=8)
                until(lambda: len(load.answers) > 30)
                server.signal(signal.SIGTERM)
                codes.append(server.process.wait(40))
                load.join()
                lost += load.lost + [status for status, _, _ in load.answers if status != 200]
                answered += len(load.answers)
        self.say("drain", runs=20, answered=answered, lost=len(lost), exit_codes=sorted(set(codes)))

    def reload(self):
        """A hundred reloads under load, two engines in turn."""
        other = self.flags.fast_engine or self.flags.engine
        with tempfile.TemporaryDirectory() as folder:
            served = pathlib.Path(folder) / "served.rtai"
            shutil.copy(self.flags.engine, served)
            with Server(self.flags.rtai, served) as server:
                load = Load(server, {"text": self.texts[0], "logits": True}, threads=4)
                start = time.monotonic()
                for i in range(100):
                    done = server.metrics()['rtai_reloads_total{result="done"}']
                    fresh = pathlib.Path(folder) / "fresh"
                    shutil.copy([other, self.flags.engine][i % 2], fresh)
                    os.replace(fresh, served)
                    server.signal(signal.SIGHUP)
                    until(lambda: server.metrics()['rtai_reloads_total{result="done"}'] > done, 30)
                seconds = time.monotonic() - start
                load.stop()
        bodies = {}
        for _, digest, body in load.answers:
            bodies.setdefault(digest, set()).add(body)
        self.say("reload", reloads=100, seconds=seconds, answered=len(load.answers), lost=len(load.lost),
                 statuses=sorted({status for status, _, _ in load.answers}), engines=len(bodies),
                 different_answers_of_one_engine=max(len(found) for found in bodies.values()) - 1)

    def slow(self):
        """A thousand slow clients of each kind beside a good one."""
        tool = shutil.which("slowhttptest")
        if not tool:
            return self.say("slow", skipped="slowhttptest is not installed")
        with Server(self.flags.rtai, self.flags.engine) as server:
            alone = self.bench(server, "--rate", 20, "--duration", "5s")
            for kind in ("-H", "-B", "-X"):
                slow = subprocess.Popen([tool, kind, "-c", "1000", "-r", "500", "-i", "5", "-l", "8", "-u", server.url() + "/v2/health/live"],
                                        stdout=subprocess.DEVNULL)
                time.sleep(2.5)
                connections = server.metrics()["rtai_connections"]
                beside = self.bench(server, "--rate", 20, "--duration", "5s")
                slow.wait()
                self.say("slow", kind=kind, connections=connections, alone_p99_ms=alone["latency_ms"]["p99"],
                         beside_p99_ms=beside["latency_ms"]["p99"], statuses=beside["statuses"], failed=beside["failed"])

    def soak(self):
        """Twenty minutes at half the capacity; memory after the first two against the end."""
        capacity = self.capacity()
        with Server(self.flags.rtai, self.flags.engine) as server:
            self.bench(server, "--rate", capacity / 2, "--duration", f"{self.flags.soak_seconds / 10}s")
            before = server.metrics()["process_resident_memory_bytes"]
            found = self.bench(server, "--rate", capacity / 2, "--duration", f"{self.flags.soak_seconds}s")
            after = server.metrics()["process_resident_memory_bytes"]
        self.say("soak", seconds=found["seconds"], statuses=found["statuses"], failed=found["failed"], p99_ms=found["latency_ms"]["p99"],
                 grown_percent=100 * (after / before - 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rtai")
    parser.add_argument("engine")
    parser.add_argument("texts", help=".txt, a text a line")
    parser.add_argument("--full-engine")
    parser.add_argument("--fast-engine")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--soak-seconds", type=float, default=1200)
    parser.add_argument("--queue-time", default="10ms")
    parser.add_argument("--rows", default="throughput,load,overload,promise,drain,reload,slow,soak")
    flags = parser.parse_args()
    campaign = Campaign(flags)
    for row in flags.rows.split(","):
        getattr(campaign, row)()


main()

"""Measures what Triton's server with the backend adds to the engine, one request at a time.

usage: triton_overhead.py RTAI ENGINE TEXTS BACKENDS [--seconds N] [--threads N]
BACKENDS holds rtai/libtriton_rtai.so. The token ids of one text of middling length go through the engine alone (`rtai bench`)
and through the server over HTTP and gRPC, in turn, five rounds; the medians of the rounds' p50 are compared. The clients send
bytes that were made before: what is left of them, and of the protocol, is what a request that asks nothing (`live`) takes.
What the server itself counts, on average: `queue`, `compute_input`, `compute_infer` (the engine there), `compute_output`.
Prints a line of JSON. Ends with 77 without Triton's server and clients: tests/tools/triton/triton_server.py.
"""
import argparse
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools" / "triton"))
import triton_server  # noqa: E402
triton_server.require_modules()

import grpc  # noqa: E402
import numpy as np  # noqa: E402
import tritonclient.grpc  # noqa: E402
from tritonclient.grpc import service_pb2  # noqa: E402

ROUNDS = 5


def middling(rtai, engine, texts):
    """The token ids of the text with the median number of tokens."""
    lines = subprocess.run([rtai, "run", engine, "--data", texts, "--json", "--logits"], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    ids = sorted((json.loads(line)["input_ids"] for line in lines), key=len)
    return ids[len(ids) // 2]


class Http:
    """One connection that sends prepared requests."""

    def __init__(self, port, ids):
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = np.array(ids, dtype="<i8").tobytes()
        head = json.dumps({"inputs": [{"name": "input_ids", "shape": [1, len(ids)], "datatype": "INT64",
                                       "parameters": {"binary_data_size": len(data)}}],
                           "parameters": {"binary_data_output": True}}).encode()
        self.infer = (b"POST /v2/models/measured/infer HTTP/1.1\r\nHost: a\r\nInference-Header-Content-Length: %d\r\n"
                      b"Content-Length: %d\r\n\r\n" % (len(head), len(head) + len(data))) + head + data
        self.live = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"

    def ask(self, request):
        self.connection.sendall(request)
        answer = self.connection.recv(1 << 16)
        while b"\r\n\r\n" not in answer:
            answer += self.connection.recv(1 << 16)
        head, body = answer.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(f"the server says {answer[:500]!r}")
        size = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < size:
            body += self.connection.recv(1 << 16)


class Grpc:
    """One channel that sends prepared messages."""

    def __init__(self, address, ids):
        self.channel = grpc.insecure_channel(address)
        request = service_pb2.ModelInferRequest(model_name="measured")
        tensor = request.inputs.add(name="input_ids", datatype="INT64")
        tensor.shape.extend([1, len(ids)])
        request.raw_input_contents.append(np.array(ids, dtype="<i8").tobytes())
        self.infer = self.call("ModelInfer"), request.SerializeToString()
        self.live = self.call("ServerLive"), b""

    def call(self, method):
        return self.channel.unary_unary(f"/inference.GRPCInferenceService/{method}", request_serializer=None, response_deserializer=None)

    @staticmethod
    def ask(request):
        method, message = request
        method(message)


def p50_ms(ask, request, seconds):
    end = time.perf_counter() + seconds
    times = []
    while time.perf_counter() < end or len(times) < 20:
        start = time.perf_counter()
        ask(request)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def counts(server):
    """What the server has counted: requests, and nanoseconds of all of them together."""
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        stats = client.get_inference_statistics("measured").model_stats[0].inference_stats
    return {"count": stats.success.count, **{part: getattr(stats, part).ns for part in
                                             ("success", "queue", "compute_input", "compute_infer", "compute_output")}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rtai")
    parser.add_argument("engine")
    parser.add_argument("texts", help=".txt, a text a line")
    parser.add_argument("backends")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement in a round")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    ids = middling(flags.rtai, flags.engine, flags.texts)

    def alone(seconds):
        command = [flags.rtai, "bench", flags.engine, "--batch", 1, "--seq", len(ids), "--threads", flags.threads,
                   "--duration", f"{seconds}s", "--json", "-"]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["results"][0]["latency_ms"]["p50"]

    with tempfile.TemporaryDirectory(prefix="rtai-triton-") as folder:
        repository = pathlib.Path(folder) / "repository"
        triton_server.model_folder(repository, "measured", flags.engine,
                                   f'backend: "rtai"\nparameters {{ key: "threads" value {{ string_value: "{flags.threads}" }} }}\n')
        with triton_server.TritonServer(flags.backends, repository, pathlib.Path(folder) / "log") as server:
            with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
                client.load_model("measured")
            http, over_grpc = Http(server.http_port, ids), Grpc(server.grpc, ids)
            what = {"engine": alone,
                    "http": lambda seconds: p50_ms(http.ask, http.infer, seconds),
                    "http_live": lambda seconds: p50_ms(http.ask, http.live, seconds),
                    "grpc": lambda seconds: p50_ms(over_grpc.ask, over_grpc.infer, seconds),
                    "grpc_live": lambda seconds: p50_ms(over_grpc.ask, over_grpc.live, seconds)}
            for measure in what.values():
                measure(1)
            found = {name: [] for name in what}
            before = counts(server)
            for _ in range(ROUNDS):
                for name, measure in what.items():
                    found[name].append(measure(flags.seconds))
            after = counts(server)
    p50 = {name: statistics.median(times) for name, times in found.items()}
    asked = after.pop("count") - before.pop("count")
    counted = {name: (after[name] - before[name]) / asked / 1e6 for name in after}
    print(json.dumps({"row": "triton", "counted_ms": counted, "tokens": len(ids), "threads": flags.threads, "p50_ms": p50,
                      "overhead_http_ms": p50["http"] - p50["engine"], "overhead_grpc_ms": p50["grpc"] - p50["engine"]}))


main()

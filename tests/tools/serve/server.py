"""Starting `rtai serve` on loopback and talking to it, for the tests beside this file."""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

TEXT = "play the new album by westbam on google music"


def make_embedder(folder, encoder):
    """A copy of a model's folder in which sentence-transformers would find means over tokens."""
    shutil.copytree(encoder, folder)
    (folder / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')


class Server:
    """One server on a free port; a context manager."""

    def __init__(self, rtai, *args, prefix=(), env=None):
        self.process = subprocess.Popen([*map(str, prefix), rtai, "serve", *map(str, args), *([] if "--unix" in args else ["--port", "0"])],
                                        stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.lines = []
        self.port = None
        self.started = threading.Event()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        if not self.started.wait(120) or self.process.poll() is not None:
            self.stop()
            raise RuntimeError("the server did not start: " + "".join(self.lines))

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            found = re.search(r"serving \S+ at (?:http://.*:(\d+)|unix:)", line)
            if found:
                self.port = int(found.group(1) or 0)
                self.started.set()
        self.started.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.reader.join(30)
        self.process.stderr.close()

    def signal(self, number):
        self.process.send_signal(number)

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, connection=None):
        """(status, headers, body) of one request."""
        own = connection is None
        connection = connection or self.connect()
        try:
            data = json.dumps(body) if isinstance(body, (dict, list)) else body
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            if own:
                connection.close()

    def infer(self, model, inputs, outputs=None, binary=b"", **more):
        """(status, document, binary tensors) of the Open Inference Protocol."""
        body = json.dumps({"inputs": inputs, **({"outputs": outputs} if outputs else {}), **more}).encode()
        headers = {"Inference-Header-Content-Length": str(len(body))} if binary else {}
        status, found, data = self.ask("POST", f"/v2/models/{model}/infer", body + binary, headers)
        size = int(found.get("Inference-Header-Content-Length", len(data)))
        return status, json.loads(data[:size]), data[size:]

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, path, body, headers=None, **options):
        status, found, data = self.ask("POST", path, body, headers, **options)
        return status, found, json.loads(data)

    def raw(self, data, timeout=5, half_close=False):
        """Everything the server says to these bytes until it closes, or None if it never closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            try:
                connection.sendall(data)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            received = b""
            try:
                while part := connection.recv(65536):
                    received += part
            except socket.timeout:
                return None
            except ConnectionResetError:
                pass
            return received

    def metrics(self):
        """Samples of /metrics by name and labels, after checking the text against Prometheus's grammar."""
        status, headers, body = self.get("/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        values, types = {}, {}
        for line in body.decode().splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split()[2:]
                assert name not in types and kind in ("counter", "gauge", "histogram"), line
                types[name] = kind
                continue
            match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)', line)
            assert match, line
            base = re.sub(r"_(bucket|sum|count)$", "", match[1])
            assert match[1] in types or types.get(base) == "histogram", f"no TYPE before {line}"
            key = match[1] + (match[2] or "")
            assert key not in values, f"twice: {key}"
            values[key] = float(match[3])
        return values


def until(condition, seconds=20, step=0.02):
    """Waits for the condition; its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(step)
    return value


def bytes_tensor(texts):
    """BYTES as the binary extension has them."""
    return b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts)


class Load:
    """Threads that ask again and again until stopped; every answer is kept as (status, digest, body)."""

    def __init__(self, server, body, path="/v1/predict", threads=8):
        self.server, self.body, self.path = server, json.dumps(body), path
        self.answers, self.lost = [], []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _work(self):
        connection = None
        while not self.stopping.is_set():
            try:
                if connection is None:
                    connection = self.server.connect()
                    connection.connect()
            except OSError:
                return  # nobody listens any more: nothing was sent, nothing is lost
            try:
                connection.request("POST", self.path, self.body)
                response = connection.getresponse()
                body = response.read()
                self.answers.append((response.status, response.headers.get("rtai-engine-digest"), body))
                if response.headers.get("Connection") == "close":
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection = None
        if connection:
            connection.close()

    def stop(self):
        self.stopping.set()
        self.join()

    def join(self):
        for thread in self.threads:
            thread.join(60)

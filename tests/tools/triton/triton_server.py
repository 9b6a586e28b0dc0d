"""Finding Triton's server and starting it on loopback, for the test and the benchmark of the backend.

The server and its clients are of PyPI: `nvidia-pytriton` carries a tritonserver that needs no container and no GPU, and
`tritonclient[http,grpc]` talks to it. RTAI_TRITON_PYTHON names a Python that has both, if this one has not.
"""
import importlib.util
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request


def require_modules():
    """Goes on with a Python that has the modules, or ends with 77, which means skipped."""
    if all(importlib.util.find_spec(module) for module in ("pytriton", "tritonclient", "geventhttpclient", "grpc", "numpy")):
        return
    other = os.environ.pop("RTAI_TRITON_PYTHON", None)
    if not other:
        print("skipped: nvidia-pytriton and tritonclient[http,grpc] are not installed; RTAI_TRITON_PYTHON may name a Python that has them")
        sys.exit(77)
    os.execv(other, [other, *sys.argv])


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def model_folder(repository, name, engine, config=None, file="model.rtai"):
    """One model of a repository: `name`/config.pbtxt, unless there is none, and `name`/1/`file`."""
    folder = pathlib.Path(repository) / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / file).write_bytes(pathlib.Path(engine).read_bytes())
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    return folder


class TritonServer:
    """One server; a context manager. Models are loaded by the client."""

    def __init__(self, backends, repository, log, *arguments):
        folder = pathlib.Path(importlib.util.find_spec("pytriton").origin).parent / "tritonserver"
        self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        self.http, self.grpc = f"127.0.0.1:{self.http_port}", f"127.0.0.1:{self.grpc_port}"
        self.log = pathlib.Path(log)
        command = [folder / "bin" / "tritonserver", "--backend-directory", backends, "--model-repository", repository,
                   "--cache-directory", folder / "caches", "--model-control-mode=explicit", "--allow-gpu-metrics=false"]
        for service, port in (("http", self.http_port), ("grpc", self.grpc_port), ("metrics", self.metrics_port)):
            command += [f"--{service}-address=127.0.0.1", f"--{service}-port={port}"]
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen([*map(str, command), *arguments], stdout=output, stderr=output)
        end = time.monotonic() + 120
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError("the server did not start:\n" + self.log.read_text()[-4000:])
            time.sleep(0.1)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)

    def metric(self, name, model):
        """A counter of /metrics for one model, all reasons and versions together."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as response:
            lines = response.read().decode().splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{") and f'model="{model}"' in line]
        if not values:
            raise KeyError(name)
        return sum(values)

    def status(self, key):
        """A number of /proc/PID/status: Threads, or VmRSS in KiB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise KeyError(key)

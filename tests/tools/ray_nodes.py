"""Two Ray nodes on this machine, simulated by Ray's own utility, for the test and the benchmark of rtai.ray.

Ray is of PyPI: `ray[data]` and `pandas`. RTAI_RAY_PYTHON names a Python that has them, if this one has not.
"""
import importlib.util
import os
import pathlib
import sys
import time

OBJECT_STORE = 100 << 20  # bytes


def require_modules():
    """Goes on with the Python of RTAI_RAY_PYTHON, or this one; ends with 77, which means skipped, where that has no Ray."""
    chosen = os.environ.pop("RTAI_RAY_PYTHON", None)
    if chosen:
        os.execv(chosen, [chosen, *sys.argv])
    missing = [name for name in ("numpy", "pandas", "pyarrow", "ray") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        sys.exit(77)


def use_package(folder):
    """Makes `folder`, which holds rtai/, importable here and in Ray's workers; before Ray is imported."""
    os.environ.update(PYTHONPATH=str(pathlib.Path(folder).resolve()), RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0",
                      RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    sys.path.insert(0, os.environ["PYTHONPATH"])


def children(parent):
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append((int(folder.name), (folder / "cmdline").read_bytes().split(b"\0")[0].decode()))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def cpu_ticks(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


class Nodes:
    """Two nodes; the first, where this program and its data live, has `first_cpus`, the second has one."""

    def __init__(self, first_cpus):
        import ray
        import ray.data
        from ray.cluster_utils import Cluster

        health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 8}
        self.cluster = Cluster(initialize_head=True, head_node_args={
            "num_cpus": first_cpus, "object_store_memory": OBJECT_STORE, "include_dashboard": False,
            "_system_config": {**health, "enable_worker_prestart": False, "prestart_worker_first_driver": False}})
        self.add_second()
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False

    def add_second(self):
        self.second = self.cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE)

    def kill_second(self):
        self.cluster.remove_node(self.second, allow_graceful=False)

    def actors(self, node=None):
        """Processes with an engine, of one node or all."""
        nodes = [node] if node else self.cluster.list_all_nodes()
        raylets = [info.process.pid for each in nodes for info in each.all_processes["raylet"]]
        return [pid for raylet in raylets for pid, name in children(raylet) if name.startswith("ray::") and "_Actor" in name]

    def busy_actor(self, node=None):
        """One that computes at this moment."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            before = {pid: cpu_ticks(pid) for pid in self.actors(node)}
            time.sleep(0.02)
            for pid, ticks in before.items():
                if cpu_ticks(pid) > ticks:
                    return pid
        raise TimeoutError("no engine of the job computes")

    def close(self):
        import ray

        ray.shutdown()
        self.cluster.shutdown()

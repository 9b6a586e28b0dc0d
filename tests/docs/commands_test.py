"""Runs every command of the documents and of the CI examples, in a folder with a model and texts.

usage: commands_test.py RTAI REPOSITORY
A block ```sh is run as it stands. `<!-- not run: REASON -->` above it keeps it from being run; `<!-- needs: PROGRAM ... -->`
runs it where these are there. `<!-- timed: REASON -->` allows exit code 7: a goal in time that a busy machine misses.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

try:
    import yaml
except ImportError:
    print("skipped: python3-yaml is not installed")
    sys.exit(77)

RTAI = pathlib.Path(sys.argv[1]).resolve()
REPOSITORY = pathlib.Path(sys.argv[2]).resolve()
DEMO = REPOSITORY / "models" / "demo-snips"
PAGES = ["start", "export", "targets", "reports", "deploy", "extend", "serving"]
BLOCK = re.compile(r"(?:^<!-- (not run|needs|timed): ([^\n]*) -->\n)?^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def is_there(need):
    """A program; a module of Python (python3:MODULE); a commit, which a shallow clone lacks (git:COMMIT)."""
    program, _, module = need.partition(":")
    if not shutil.which(program):
        return False
    if program == "git" and module:
        return subprocess.run(["git", "-C", REPOSITORY, "cat-file", "-e", module], capture_output=True).returncode == 0
    return not module or subprocess.run([program, "-c", f"import {module}"], capture_output=True).returncode == 0


def blocks_of_page(page):
    """(script, reason not to run it or None, exit codes that are fine)"""
    text = (REPOSITORY / "docs" / f"{page}.md").read_text()
    for mark, words, script in BLOCK.findall(text):
        missing = [need for need in words.split() if not is_there(need)] if mark == "needs" else []
        reason = words if mark == "not run" else f"{' '.join(missing)} not installed" if missing else None
        yield script, reason, (0, 7) if mark == "timed" else (0,)


def blocks_of_ci(path):
    """The steps of the jobs, but those that install rtai. A gate on latency may be missed, as in timed blocks."""
    codes_of = lambda script: (0, 7) if "--fail-if" in script else (0,)
    document = yaml.safe_load(path.read_text())
    if "jobs" in document:
        for job in document["jobs"].values():
            for step in job["steps"]:
                if "run" in step:
                    yield step["run"], "installs rtai" if step["name"].startswith("Install") else None, codes_of(step["run"])
        return
    for name, job in document.items():
        if isinstance(job, dict) and "script" in job:
            script = "\n".join(job["script"])
            yield script, None, codes_of(script)


def set_up(folder):
    shutil.copytree(DEMO, folder / "model-folder")
    shutil.copytree(DEMO, folder / "your-model-folder")
    shutil.copy(DEMO / "calibration.txt", folder / "texts.txt")
    lines = (DEMO / "test.jsonl").read_text().splitlines()[:100]
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "repository").symlink_to(REPOSITORY)


def run_all(name, blocks):
    problems = []
    with tempfile.TemporaryDirectory(prefix="rtai-docs-") as temporary:
        folder = pathlib.Path(temporary)
        set_up(folder)
        environment = {**os.environ, "PATH": f"{RTAI.parent}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
        for script, reason, codes in blocks:
            first = script.strip().splitlines()[0]
            if reason:
                print(f"{name}: not run ({reason}): {first}")
                continue
            done = subprocess.run(["sh", "-eu", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
            print(f"{name}: {'ok' if done.returncode in codes else 'FAILED'}: {first}")
            if done.returncode not in codes:
                problems.append(f"{name}: exit {done.returncode}:\n{script}{done.stderr[-2000:]}")
    return problems


failed = []
for one in PAGES:
    failed += run_all(f"docs/{one}.md", list(blocks_of_page(one)))
for example in sorted((REPOSITORY / "docs" / "ci").glob("*.yml")):
    steps = list(blocks_of_ci(example))
    if not any(reason is None for _, reason, _ in steps):
        failed.append(f"{example}: no step was found")
    failed += run_all(f"docs/ci/{example.name}", steps)
print("\n".join(failed))
sys.exit(1 if failed else 0)

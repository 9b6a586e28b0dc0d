"""rtai in a shell and a project: completions, manual pages, rtai init, --dry-run.

usage: shell_test.py RTAI REPOSITORY [unittest arguments]
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

RTAI = str(pathlib.Path(sys.argv[1]).resolve())
REPOSITORY = pathlib.Path(sys.argv[2]).resolve()
DEMO = REPOSITORY / "models" / "demo-snips"


def rtai(*args, cwd=None):
    return subprocess.run([RTAI, *map(str, args)], capture_output=True, text=True, cwd=cwd, timeout=600)


def commands():
    """Commands as `rtai --help` lists them."""
    help_text = rtai("--help").stdout
    return [line.split()[0] for line in help_text.split("\nCommands:\n")[1].split("\n\n")[0].splitlines() if line.startswith("  ")]


def bash_answers(*words):
    """What bash offers for the last of `words`."""
    script = (f'source <("{RTAI}" completion bash); COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); '
              f'COMP_CWORD={len(words) - 1}; _rtai; printf "%s\\n" "${{COMPREPLY[@]}}"')
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


class ShellTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="rtai-shell-")
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def test_every_command_has_help_with_an_example(self):
        for command in commands():
            with self.subTest(command):
                text = rtai(command, "--help").stdout
                self.assertRegex(text, rf"Examples?: rtai {command}")
                self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_help_begins_with_what_must_be_given(self):
        lines = rtai("prune", "--help").stdout.splitlines()
        self.assertIn("Usage: rtai prune MODEL -o OUT [flags]", lines)
        headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
        self.assertEqual(headings[:3], ["Arguments:", "Target, one of these:", "Options:"])
        self.assertEqual(sum("--help" in line for line in lines), 1)
        self.assertRegex("\n".join(lines), r"--method obs\|magnitude[^\n]*\n +obs; controls: [^\n]* \(default: obs\)\n")

    def test_bash_completes_commands_flags_values_and_files(self):
        self.assertEqual(bash_answers("rtai", "ben"), ["bench"])
        self.assertEqual(set(bash_answers("rtai", "")), set(commands()))
        self.assertIn("--fail-if", bash_answers("rtai", "bench", "--f"))
        self.assertEqual(bash_answers("rtai", "quantize", "--mode", "s"), ["static"])
        self.assertEqual(bash_answers("rtai", "completion", "z"), ["zsh"])
        self.assertIn(str(DEMO / "vocab.txt"), bash_answers("rtai", "run", str(DEMO / "voc")))

    def test_zsh_and_fish_read_their_scripts(self):
        for shell, check in (("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
            script = self.folder / shell
            script.write_text(rtai("completion", shell).stdout)
            text = script.read_text()
            for command in commands():
                self.assertIn(command, text)
            self.assertEqual(text.count("'") % 2, text.count("'\\''") % 2)
            if shutil.which(shell):
                done = subprocess.run([*check, script], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(rtai("completion", "csh").returncode, 2)

    def test_manual_pages_are_troff_without_complaints(self):
        done = rtai("man", "--write", self.folder / "man")
        self.assertEqual(done.returncode, 0, done.stderr)
        pages = {page.name for page in (self.folder / "man").iterdir()}
        self.assertEqual(pages, {"rtai.1", *(f"rtai-{command}.1" for command in commands())})
        page = (self.folder / "man" / "rtai-bench.1").read_text()
        for part in (".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLES", ".SH EXIT STATUS", "\\-\\-fail\\-if", "130"):
            self.assertIn(part, page)
        self.assertIn("RTAI_CACHE_DIR", (self.folder / "man" / "rtai.1").read_text())
        if shutil.which("groff"):
            for name in pages:
                done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", self.folder / "man" / name], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""), name)
        self.assertEqual(rtai("man", "fly").returncode, 3)

    def test_init_writes_a_config_that_runs(self):
        done = rtai("init", "--model", DEMO, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        config = self.folder / "rtai.json"
        text = config.read_text()
        self.assertIn("//", text)
        shutil.copy(DEMO / "calibration.txt", self.folder / "texts.txt")
        plan = rtai("optimize", "--config", config, "--threads", 1, "--dry-run", cwd=self.folder)
        self.assertEqual(plan.returncode, 0, plan.stderr)
        for part in ("calibrate with", "prune-obs", "quantize-int8", "write optimized.rtai", "more than 1 points", "report.html"):
            self.assertIn(part, plan.stdout)
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"rtai.json", "texts.txt"})
        again = rtai("init", cwd=self.folder)
        self.assertEqual(again.returncode, 3)
        self.assertEqual(config.read_text(), text)

    def test_the_schema_of_configs_is_published(self):
        schema = rtai("init", "--schema").stdout
        self.assertEqual((REPOSITORY / "docs" / "schemas" / "optimize-config-1.json").read_text(), schema,
                         "run: rtai init --schema > docs/schemas/optimize-config-1.json")
        properties = json.loads(schema)["properties"]
        for key in ("model", "output", "calib", "speedup", "max-drop", "html", "threads"):
            self.assertIn(key, properties)
        rtai("init", cwd=self.folder)
        lines = (self.folder / "rtai.json").read_text().splitlines()
        config = json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))
        self.assertLessEqual(set(config), set(properties))
        try:
            import jsonschema
        except ImportError:
            return
        jsonschema.validate(config, json.loads(schema))

    def test_an_unknown_key_in_a_config_is_refused(self):
        config = self.folder / "wrong.json"
        config.write_text('{"model": "m", "output": "o.rtai", "latency": 1, "sped-up": 3}')
        done = rtai("optimize", "--config", config)
        self.assertEqual(done.returncode, 3)
        self.assertIn("did you mean 'speedup'?", done.stderr)

    def test_the_same_config_gives_the_same_bytes(self):
        config = self.folder / "rtai.json"
        config.write_text(json.dumps({"model": str(DEMO), "mode": "dynamic", "seq": 8, "threads": 1}))
        for name in ("one.rtai", "two.rtai"):
            done = rtai("quantize", "--config", config, "-o", name, cwd=self.folder)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "one.rtai").read_bytes(), (self.folder / "two.rtai").read_bytes())

    def test_dry_run_writes_nothing(self):
        for arguments in (["prune", "--flops", "2", "--calib", DEMO / "calibration.txt"], ["quantize"]):
            done = rtai(arguments[0], DEMO, "-o", self.folder / "out.rtai", "--dry-run", *arguments[1:])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("nothing was written", done.stdout)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])

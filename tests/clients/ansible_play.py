"""An Ansible play over amazon.aws."""

import json
import os
import pathlib
import subprocess
import sys

from stage import FRIEND, MAKER, RUN, SNAPSHOT, step

BIN = pathlib.Path(sys.executable).parent
PLAY = pathlib.Path(__file__).with_name("ansible_play.yml")

out = subprocess.run([BIN / "ansible-galaxy", "collection", "list", "amazon.aws", "--format", "json"],
                     capture_output=True, text=True)
version = next(iter(json.loads(out.stdout).values()))["amazon.aws"]["version"]
core = subprocess.run([BIN / "ansible", "--version"], capture_output=True, text=True)
print(f"amazon.aws {version}, {core.stdout.splitlines()[0]}")

with step("the play"):
    command = [BIN / "ansible-playbook", "-i", "localhost,", PLAY,
               "-e", f"run={RUN} snapshot={SNAPSHOT} friend={FRIEND.account} ansible_python_interpreter={sys.executable}"]
    environment = {**MAKER.environment(), "ANSIBLE_LOCALHOST_WARNING": "false",
                   "ANSIBLE_NOCOLOR": "1", "HOME": os.getcwd()}
    out = subprocess.run(command, env=environment, capture_output=True, text=True)
    if out.returncode != 0:
        print(out.stdout[-5000:], out.stderr[-2000:])
        raise SystemExit("the play failed")

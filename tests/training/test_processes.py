"""Trainings of several processes, as torchrun starts them."""

import os
import subprocess
import sys

import torch

from tests.training.test_finetune import ROOT, command_line
from training.outputs import CHECKPOINT


def test_processes_started_by_torchrun_train_one_model(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = command_line(tmp_path, steps=4, validate_every=2, device="cpu")
    done = subprocess.run(
        [*command, "-m", "training.finetune", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sha256") == 1  # the first process writes for all
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 4


def test_no_thread_of_a_run_lives_into_the_interpreters_end(tmp_path):
    """Where something holds the group past its end, gloo's threads abort a process at its end now and then."""
    program = """if True:
        import atexit, weakref
        import torch.distributed as dist
        from training.finetune import main
        groups = []
        atexit.register(lambda: print("groups left:", [group() for group in groups]))
        main()
        groups.append(weakref.ref(dist.group.WORLD))
    """
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, *command_line(tmp_path, steps=1, device="cpu")],
        cwd=ROOT,
        env=os.environ | alone,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "groups left: [None]" in done.stdout

# make demo    installs into .venv, then lifts a bundled recording through the real node (demo/demo.mp4, demo.png)
# make test    ruff, mypy, pytest in the same .venv
# make bench-train    training samples/s beside a plain loop, N = 27, 81, 243
# make soak    ten minutes of the node at 50 Hz with three people: memory, lost frames, latency
# make bench    how fast engines and lifter are on this machine: docs/bench.json, docs/bench.md
# make verify-gpu    for owners of an NVIDIA GPU: each of its engines proves itself and is timed (gpu.log, gpu.md)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin/python
PIP := $(BIN) -m pip --disable-pip-version-check install -q

.PHONY: demo test bench-train bench verify-gpu soak install clean

demo: $(VENV)/demo-ready
	$(BIN) -m pstmo_ros.demo

test: $(VENV)/test-ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(BIN) -m pytest

bench-train: $(VENV)/test-ready
	$(BIN) -m training.bench_train

soak: $(VENV)/test-ready
	$(BIN) -m bench.soak

bench: $(VENV)/test-ready
	$(BIN) -m bench

# TensorRT is large, and there is none for some machines: its engine then says that it is missing.
verify-gpu: $(VENV)/test-ready
	-$(PIP) -r requirements/gpu.txt
	for engine in tensorrt cuda_graphs torch; do for precision in fp16 fp32; do \
	  $(BIN) -m bench.verify realtime $$engine $$precision; \
	done; done 2>&1 | tee gpu.log
	$(BIN) -m bench --out gpu

install: $(VENV)/demo-ready

# A sourced ROS 2 brings rclpy, and messages built for NumPy 1; otherwise both come as wheels. It is looked for, not
# imported: what it needs (NumPy, PyYAML) is only about to be installed.
$(VENV)/demo-ready: requirements/run.txt requirements/ros.txt
	@echo "Installing into $(VENV) (torch is large: a few minutes the first time) ..."
	$(PYTHON) -m venv $(VENV)
	@if $(BIN) -c "import sys, importlib.util as u; sys.exit(not u.find_spec('rclpy'))"; then \
	  echo "Using the sourced ROS 2 ($$ROS_DISTRO)."; \
	  grep -vE '^(numpy|scipy|matplotlib)=' requirements/run.txt >$(VENV)/run.txt; \
	  $(PIP) -r $(VENV)/run.txt -r requirements/sourced-ros.txt; \
	else \
	  $(PIP) -r requirements/run.txt -r requirements/ros.txt; \
	fi
	@touch $@

$(VENV)/test-ready: $(VENV)/demo-ready requirements/test.txt
	$(PIP) -r requirements/test.txt
	@touch $@

clean:
	rm -rf $(VENV) demo build install log

# Thin: CMake does the work (see CMakePresets.json). `make demo` and `make test` install what is missing.
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: all setup build test demo cuda clean
all: build

setup:
	@scripts/setup.sh

build: setup
	@cmake --preset release >build/configure.log || { cat build/configure.log; exit 1; }
	@cmake --build build -j $(JOBS)

test: build
	@ctest --test-dir build -j $(JOBS) --output-on-failure

demo: build
	@scripts/demo.sh

# The program for an NVIDIA GPU, in build/cuda. Compiles without one.
cuda:
	@scripts/setup.sh --cuda
	@cmake --preset cuda >build/configure-cuda.log || { cat build/configure-cuda.log; exit 1; }
	@cmake --build build/cuda -j $(JOBS)

clean:
	rm -rf build

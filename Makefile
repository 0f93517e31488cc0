# Thin: CMake does the work (see CMakePresets.json). `make demo` and `make test` install what is missing.
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: all setup build test demo clean
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

clean:
	rm -rf build

#!/usr/bin/env bash
# Runs CUDA binaries built elsewhere on a machine with an NVIDIA GPU but without MLX's CUDA wheel.
#   cuda_device.sh pack FOLDER            here: collects what travels into FOLDER (about 35 MB)
#   . FOLDER/cuda_device.sh unpack FOLDER there: unpacks to /tmp/trm_cuda (programs in its bin) and sets the library path
# CUDA's own libraries come from the `nvidia` packages beside that machine's PyTorch. Of libmlx.so's
# kernels only those of compute capability 9.0 travel: the others are zeros, which compress away.

pack() {
  local to=$1 wheel=build/mlx-cuda
  mkdir -p "$to"
  if [ ! -e "$to/mlx.tar.xz" ]; then
    local work
    work=$(mktemp -d)
    cp -r "$wheel/mlx" "$wheel/mlx_cuda_13.libs" "$work/"
    rm -rf "$work/mlx/include/mlx"
    python3 benchmarks/keep_sm90.py "$work/mlx/lib/libmlx.so"
    tar -C "$work" -cf - mlx mlx_cuda_13.libs | nice xz -T0 -6 >"$to/mlx.tar.xz"
    rm -rf "$work"
  fi
  rm -rf "$to/lib" && mkdir -p "$to/lib"
  local library
  for library in libfmt libyaml-cpp libdeflate libprotobuf-lite libz.so; do
    cp -L "$(ldd build/cuda/trm | awk -v n="$library" '$1 ~ "^"n {print $3}')" "$to/lib/"
  done
  # The GPU does the work, nothing is downloaded or served: empty libraries stand in.
  for library in libopenblas.so.0 libcurl.so.4; do
    g++ -shared -o "$to/lib/$library" -Wl,-soname,$library -x c++ /dev/null
  done
  echo 'void* type[4] __asm__("_ZTIN7httplib6ServerE");
        extern "C" void _ZNK7httplib6Server8is_validEv() {}' |
    g++ -shared -o "$to/lib/libcpp-httplib.so.0.11" -Wl,-soname,libcpp-httplib.so.0.11 -x c++ -
  strip -o "$to/trm" build/cuda/trm
  local program bin
  bin=$(mktemp -d)
  for program in trm_cuda_tests cuda_kernels cuda_step; do
    strip -o "$bin/$program" build/cuda/$program
  done
  tar -C "$bin" -cf - . | xz -T0 -3 >"$to/bin.tar.xz"
  rm -rf "$bin"
  cp "${BASH_SOURCE[0]}" "$to/"
}

unpack() {
  local from=$1 to=/tmp/trm_cuda folder
  if [ ! -e $to/done ]; then
    mkdir -p $to/bin && tar -C $to -xJf "$from/mlx.tar.xz" && touch $to/done
  fi
  tar -C $to/bin -xJf "$from/bin.tar.xz"
  local path=$PWD/$from/lib:$to/mlx/lib:$to/mlx_cuda_13.libs
  for folder in "$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])')"/*/lib; do
    path=$path:$folder
  done
  export LD_LIBRARY_PATH=$path:${LD_LIBRARY_PATH:-}
}

"$@"

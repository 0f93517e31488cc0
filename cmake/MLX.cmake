# MLX: one that find_package() finds (Homebrew, an own build, -DMLX_DIR=...), else the PyPI wheel,
# installed once into build/mlx by scripts/setup.sh and shared by all presets.
if(TRM_CUDA)
  set(trm_mlx_folder mlx-cuda)
else()
  set(trm_mlx_folder mlx)
endif()
set(TRM_MLX_WHEEL "${CMAKE_SOURCE_DIR}/build/${trm_mlx_folder}" CACHE PATH "Folder that holds the MLX wheel")

find_package(MLX CONFIG QUIET)
if(NOT MLX_FOUND)
  find_package(MLX CONFIG QUIET PATHS "${TRM_MLX_WHEEL}/mlx/share/cmake/MLX" "${TRM_MLX_WHEEL}/mlx"
               NO_DEFAULT_PATH)
endif()
if(NOT MLX_FOUND)
  message(FATAL_ERROR "MLX not found. Run scripts/setup.sh (or `make`), which installs its wheel into "
                      "${TRM_MLX_WHEEL}, or pass -DMLX_DIR=<folder of MLXConfig.cmake>.")
endif()

if(NOT APPLE)
  # libmlx.so calls cblas_sgemm. The wheel's own BLAS is netlib's reference (50 times slower), so
  # OpenBLAS has to come before it in the symbol search order. --no-as-needed keeps it there.
  find_library(TRM_OPENBLAS NAMES openblas REQUIRED)
  add_library(trm_mlx INTERFACE)
  target_link_options(trm_mlx INTERFACE -Wl,--no-as-needed)
  target_link_libraries(trm_mlx INTERFACE "${TRM_OPENBLAS}" mlx)
else()
  add_library(trm_mlx INTERFACE)
  target_link_libraries(trm_mlx INTERFACE mlx)
endif()

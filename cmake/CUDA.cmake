# The CUDA twins of the fused operations: kernels by nvcc (without MLX's headers, which it cannot read),
# host code by the C++ compiler. Needs the CUDA toolkit 13 and cuDNN 9, no GPU. cuDNN's attention is
# reached through its header-only front end, which scripts/setup.sh --cuda puts into build/mlx-cuda.
set(CMAKE_CUDA_ARCHITECTURES 90a-real)
if(NOT CMAKE_CUDA_COMPILER AND EXISTS /usr/local/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
endif()
if(TRM_CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${TRM_CCACHE}")
endif()
enable_language(CUDA)
find_package(CUDAToolkit 13 REQUIRED)
find_library(TRM_CUDNN NAMES cudnn HINTS "${CUDAToolkit_LIBRARY_DIR}" REQUIRED)

file(GLOB TRM_CUDA_SOURCES CONFIGURE_DEPENDS trm/ops/cuda/*.cpp)
file(GLOB TRM_CUDA_KERNELS CONFIGURE_DEPENDS trm/ops/cuda/*.cu)
# All others use Hopper's instructions. Compute capabilities without machine code take the PTX of 8.0.
set_source_files_properties(trm/ops/cuda/adam_atan2.cu PROPERTIES COMPILE_OPTIONS
  "--generate-code=arch=compute_80,code=[compute_80,sm_80];--generate-code=arch=compute_120,code=[sm_120]")
add_library(trm_cuda OBJECT ${TRM_CUDA_SOURCES} ${TRM_CUDA_KERNELS})
target_include_directories(trm_cuda PRIVATE "${CMAKE_SOURCE_DIR}" ${CUDAToolkit_INCLUDE_DIRS})
target_include_directories(trm_cuda SYSTEM PRIVATE "${TRM_MLX_WHEEL}/include/cccl"
                                                   "${TRM_MLX_WHEEL}/mlx/include/cccl"
                                                   "${TRM_MLX_WHEEL}/cudnn_frontend/include")
target_link_libraries(trm_cuda PRIVATE mlx fmt::fmt)
set_target_properties(trm_cuda PROPERTIES CUDA_STANDARD 17)

target_compile_definitions(trm_lib PRIVATE TRM_CUDA)
target_link_libraries(trm_lib PUBLIC $<TARGET_OBJECTS:trm_cuda> CUDA::cublasLt "${TRM_CUDNN}"
                                     CUDA::cudart_static CUDA::nvrtc CUDA::cuda_driver)
add_dependencies(trm_lib trm_cuda)

add_executable(cuda_ops EXCLUDE_FROM_ALL benchmarks/cuda_ops.cpp)
target_link_libraries(cuda_ops PRIVATE trm_lib trm_flags)
add_executable(cuda_kernels EXCLUDE_FROM_ALL benchmarks/cuda_kernels.cpp)
target_link_libraries(cuda_kernels PRIVATE trm_lib trm_flags)
target_include_directories(cuda_kernels SYSTEM PRIVATE "${TRM_MLX_WHEEL}/mlx/include/cccl")
add_executable(cuda_step EXCLUDE_FROM_ALL benchmarks/cuda_step.cpp benchmarks/cuda_profile.cpp)
target_link_libraries(cuda_step PRIVATE trm_lib trm_flags)
target_include_directories(cuda_step SYSTEM PRIVATE "${TRM_MLX_WHEEL}/mlx/include/cccl" ${CUDAToolkit_INCLUDE_DIRS})
if(TRM_BUILD_TESTS)  # the tests that need a GPU and the golden ones, to be carried to a machine that has one
  find_package(GTest REQUIRED)
  add_executable(trm_cuda_tests EXCLUDE_FROM_ALL tests/ops/cuda_test.cpp tests/models/golden_test.cpp
                                tests/train/golden_test.cpp tests/golden.cpp tests/golden_run.cpp)
  target_link_libraries(trm_cuda_tests PRIVATE trm_lib GTest::gmock GTest::gtest_main trm_flags)
  target_compile_definitions(trm_cuda_tests PRIVATE TRM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
endif()

# find_package(trm) gives the target trm::trm: the library of trm.cpp, with MLX.
include(CMakeFindDependencyMacro)
get_filename_component(trm_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

find_dependency(fmt)
find_dependency(nlohmann_json)
find_dependency(yaml-cpp)
find_dependency(CURL)
find_dependency(ZLIB)
find_dependency(Threads)
find_dependency(Protobuf)
if(NOT MLX_DIR AND EXISTS "${trm_prefix}/lib/trm/mlx/share/cmake/MLX")
  set(MLX_DIR "${trm_prefix}/lib/trm/mlx/share/cmake/MLX")
endif()
find_dependency(MLX)
find_library(trm_DEFLATE NAMES deflate)
if(NOT trm_DEFLATE)
  set(trm_FOUND FALSE)
  set(trm_NOT_FOUND_MESSAGE "libdeflate is missing (Debian: libdeflate-dev)")
  return()
endif()

if(NOT TARGET trm::trm)
  add_library(trm::trm STATIC IMPORTED)
  set_target_properties(
    trm::trm PROPERTIES IMPORTED_LOCATION "${trm_prefix}/lib/libtrm.a"
                        INTERFACE_INCLUDE_DIRECTORIES "${trm_prefix}/include"
                        INTERFACE_COMPILE_FEATURES cxx_std_20)
  if(NOT APPLE)
    # OpenBLAS has to stand before MLX, whose own BLAS is 50 times slower.
    find_library(trm_OPENBLAS NAMES openblas libopenblas.so.0 HINTS "${trm_prefix}/lib/trm")
    if(trm_OPENBLAS)
      target_link_options(trm::trm INTERFACE -Wl,--no-as-needed)
      target_link_libraries(trm::trm INTERFACE "${trm_OPENBLAS}")
    endif()
  endif()
  target_link_libraries(trm::trm INTERFACE mlx fmt::fmt nlohmann_json::nlohmann_json yaml-cpp
                                           CURL::libcurl ZLIB::ZLIB Threads::Threads
                                           protobuf::libprotobuf-lite
                                           "${trm_DEFLATE}")
endif()

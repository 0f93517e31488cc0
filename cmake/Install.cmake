# cmake --install: a tree that runs wherever it is put, with every library it needs but the C
# library beside it; and cpack: the tree as .tar.gz, and a .deb that takes from Debian what Debian has.
#
#   bin/trm                       finds its libraries by $ORIGIN/../lib/trm
#   lib/trm/mlx, lib/trm/mlx_cpu.libs   MLX as its wheel lays it out
#   lib/trm/*.so                  OpenBLAS and the rest (component "bundled", not in the .deb)
#   lib/libtrm.a, include/trm, lib/cmake/trm   for C++ programs: find_package(trm)
include(GNUInstallDirs)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME runtime)
# One layout on every system: Debian's lib/<triplet> would leave $ORIGIN/../lib behind.
set(trm_private lib/trm)

if(NOT APPLE)
  # DT_RPATH, which also serves the libraries of the libraries; DT_RUNPATH would not.
  target_link_options(trm PRIVATE -Wl,--disable-new-dtags)
  # Set by hand at installation: CMake would end the build tree's path with a colon to find it
  # again, which stands for the working directory, whose libraries nobody asked for.
  set(trm_rpath "$ORIGIN/../${trm_private}:$ORIGIN/../${trm_private}/mlx/lib")
  set_target_properties(trm PROPERTIES BUILD_RPATH "${trm_rpath}")
  install(PROGRAMS "$<TARGET_FILE:trm>" DESTINATION bin)
  string(REPLACE "$" "\\$" trm_rpath_text "${trm_rpath}")
  install(CODE "file(RPATH_SET FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/bin/trm\"
                NEW_RPATH \"${trm_rpath_text}\")")
else()
  install(TARGETS trm RUNTIME DESTINATION bin)
endif()

if(NOT APPLE)
  install(CODE "set(trm_program \"$<TARGET_FILE:trm>\")
set(trm_wheel \"${TRM_MLX_WHEEL}\")
set(trm_private \"${trm_private}\")")
  install(SCRIPT "${CMAKE_SOURCE_DIR}/cmake/InstallMLX.cmake")
  install(CODE "set(trm_program \"$<TARGET_FILE:trm>\")
set(trm_wheel \"${TRM_MLX_WHEEL}\")
set(trm_private \"${trm_private}\")" COMPONENT bundled)
  install(SCRIPT "${CMAKE_SOURCE_DIR}/cmake/InstallBundled.cmake" COMPONENT bundled)
endif()

# What the program says of itself.
foreach(page "man=share/man/man1/trm.1" "completion bash=share/bash-completion/completions/trm"
             "completion zsh=share/zsh/site-functions/_trm")
  string(REGEX MATCH "^([^=]*)=(.*)$" _ "${page}")
  install(CODE "set(file \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_MATCH_2}\")
get_filename_component(folder \"\${file}\" DIRECTORY)
file(MAKE_DIRECTORY \"\${folder}\")
string(REPLACE \" \" \";\" words \"${CMAKE_MATCH_1}\")
execute_process(COMMAND \"$<TARGET_FILE:trm>\" \${words} OUTPUT_FILE \"\${file}\" RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR \"trm ${CMAKE_MATCH_1} failed: \${failed}\")
endif()")
endforeach()
install(FILES LICENSE README.md CHANGELOG.md DESTINATION share/doc/trm)
install(DIRECTORY docs/ DESTINATION share/doc/trm/docs)
if(EXISTS "${CMAKE_SOURCE_DIR}/models")
  install(DIRECTORY models/ DESTINATION share/trm/models)
endif()

# For C++ programs. The config file is written by hand: exported targets would name the libraries of
# this machine by their full paths.
install(TARGETS trm_lib ARCHIVE DESTINATION lib COMPONENT development)
install(DIRECTORY trm DESTINATION include COMPONENT development FILES_MATCHING PATTERN "*.h"
        PATTERN "trm/serve" EXCLUDE PATTERN "trm/ops/cuda" EXCLUDE)
if(NOT APPLE AND EXISTS "${TRM_MLX_WHEEL}/mlx/include")
  install(DIRECTORY "${TRM_MLX_WHEEL}/mlx/include" "${TRM_MLX_WHEEL}/mlx/share"
          DESTINATION ${trm_private}/mlx COMPONENT development)
endif()
include(CMakePackageConfigHelpers)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/trmConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES cmake/trmConfig.cmake "${CMAKE_BINARY_DIR}/trmConfigVersion.cmake"
        DESTINATION lib/cmake/trm COMPONENT development)

set(CPACK_PACKAGE_NAME trm)
set(CPACK_PACKAGE_VENDOR "trm.cpp")
set(CPACK_PACKAGE_CONTACT "The trm.cpp maintainers <trm.cpp@example.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Tiny Recursive Models: convert, train, evaluate, solve")
set(CPACK_RESOURCE_FILE_LICENSE "${CMAKE_SOURCE_DIR}/LICENSE")
set(CPACK_GENERATOR TGZ DEB)
set(CPACK_PACKAGE_DIRECTORY "${CMAKE_BINARY_DIR}/packages")
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${TRM_MLX_WHEEL}/mlx/lib" "${TRM_MLX_WHEEL}/mlx_cpu.libs")
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_PROJECT_CONFIG_FILE "${CMAKE_SOURCE_DIR}/cmake/PackConfig.cmake")
include(CPack)

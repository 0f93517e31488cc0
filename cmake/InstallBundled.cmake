# Every other library, under the name by which it is asked for.
include("${CMAKE_CURRENT_LIST_DIR}/RuntimeDependencies.cmake")
foreach(library IN LISTS trm_libraries)
  get_filename_component(real "${library}" REALPATH)
  get_filename_component(name "${library}" NAME)
  string(FIND "${real}" "${trm_wheel}/" at)
  if(NOT at EQUAL 0 AND NOT name MATCHES "^libmlx\\.")
    file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/${trm_private}" TYPE PROGRAM
         RENAME "${name}" FILES "${real}")
  endif()
endforeach()

# MLX's libraries, laid out as in the wheel: libmlx.so looks for its neighbours there.
include("${CMAKE_CURRENT_LIST_DIR}/RuntimeDependencies.cmake")
foreach(library IN LISTS trm_libraries)
  get_filename_component(real "${library}" REALPATH)
  string(FIND "${real}" "${trm_wheel}/" at)
  get_filename_component(name "${real}" NAME)
  if(at EQUAL 0)
    string(REPLACE "${trm_wheel}/" "" place "${real}")
    get_filename_component(folder "${place}" DIRECTORY)
    file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/${trm_private}/${folder}" TYPE PROGRAM
         FILES "${real}")
  elseif(name MATCHES "^libmlx\\.")  # one that is not the wheel's
    file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/${trm_private}/mlx/lib" TYPE PROGRAM
         FILES "${real}")
  endif()
endforeach()

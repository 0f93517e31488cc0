# Sets trm_libraries to the libraries that trm_program needs, the C library's own left out: those
# belong to the kernel and the loader of the machine it runs on.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES "${trm_program}"
     RESOLVED_DEPENDENCIES_VAR trm_libraries UNRESOLVED_DEPENDENCIES_VAR trm_missing
     POST_EXCLUDE_REGEXES "/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|resolv|util|anl|nsl))\\.so[^/]*$"
                          "linux-vdso")
if(trm_missing)
  message(FATAL_ERROR "libraries of ${trm_program} that are not here: ${trm_missing}")
endif()

# The files of web/ as text inside the program: `trm serve` needs no file beside it.
# trm/serve/server.h declares what this defines.
file(GLOB TRM_WEB_FILES RELATIVE "${CMAKE_SOURCE_DIR}/web" CONFIGURE_DEPENDS
     web/*.html web/*.css web/*.js web/*.svg)
set(TRM_WEB_ENTRIES "")
foreach(file IN LISTS TRM_WEB_FILES)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "web/${file}")
  get_filename_component(extension ${file} LAST_EXT)
  if(extension STREQUAL ".html")
    set(type "text/html; charset=utf-8")
  elseif(extension STREQUAL ".css")
    set(type "text/css; charset=utf-8")
  elseif(extension STREQUAL ".js")
    set(type "text/javascript; charset=utf-8")
  else()
    set(type "image/svg+xml")
  endif()
  file(READ "web/${file}" text)
  string(APPEND TRM_WEB_ENTRIES "      {\"/${file}\", \"${type}\", R\"--web--(${text})--web--\"},\n")
endforeach()
file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/generated/embedded_web.cpp" @ONLY CONTENT
"// Made by cmake/EmbedWeb.cmake from web/.
#include \"trm/serve/server.h\"

namespace trm::serve {

const std::vector<WebFile>& web_files() {
  static const std::vector<WebFile> files = {
@TRM_WEB_ENTRIES@  };
  return files;
}

}  // namespace trm::serve
")

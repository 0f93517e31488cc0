# config/*.yaml and config/arch/*.yaml as text inside the library, so that the program finds its
# defaults wherever it is installed. trm/train/embedded.h declares what this defines.
file(GLOB TRM_CONFIG_FILES RELATIVE "${CMAKE_SOURCE_DIR}/config" CONFIGURE_DEPENDS
     config/*.yaml config/arch/*.yaml)
set(TRM_EMBEDDED_ENTRIES "")
foreach(file IN LISTS TRM_CONFIG_FILES)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "config/${file}")
  file(READ "config/${file}" text)
  string(APPEND TRM_EMBEDDED_ENTRIES "      {\"${file}\", R\"yaml(${text})yaml\"},\n")
endforeach()
file(READ cli/pages/report.html TRM_REPORT_PAGE)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS cli/pages/report.html)
file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/generated/embedded_config.cpp" @ONLY CONTENT
"// Made by cmake/EmbedConfig.cmake from config/.
#include \"trm/train/embedded.h\"

namespace trm {

const std::map<std::string, std::string>& embedded_configs() {
  static const std::map<std::string, std::string> configs = {
@TRM_EMBEDDED_ENTRIES@  };
  return configs;
}

const std::string& report_template() {
  static const std::string page = R\"page(@TRM_REPORT_PAGE@)page\";
  return page;
}

}  // namespace trm
")

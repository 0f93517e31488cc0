#pragma once

#include <map>
#include <string>

namespace trm {

/// The files of config/ as they were at build time, by path below config/ ("arch/trm.yaml").
const std::map<std::string, std::string>& embedded_configs();

/// The page that `trm report` fills in.
const std::string& report_template();

}  // namespace trm

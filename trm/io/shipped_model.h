#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace trm {

/// Folder of the running program; empty where the system does not tell.
std::filesystem::path program_folder();

/// The weights that come with the program: `name` in $TRM_MODELS, in ../share/trm/models beside the
/// program (installed), or in the source tree it was built in. nullopt when there are none.
std::optional<std::filesystem::path> shipped_model(
    const std::string& name = "sudoku-extreme.safetensors");

}  // namespace trm

// Puzzles as pictures: on the terminal and as PNG.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trm/data/symmetry.h"

namespace trm {

/// The puzzle and its answer side by side, one line a row, ends with a line end. `colours` uses the
/// terminal's 256 colours; without it plain characters.
std::string picture_text(PuzzleKind kind, const std::vector<int32_t>& input,
                         const std::vector<int32_t>& label, bool colours);

/// The answer alone, in the same way.
std::string answer_text(PuzzleKind kind, const std::vector<int32_t>& input,
                        const std::vector<int32_t>& answer, bool colours);

/// 8-bit RGB, three bytes a pixel.
struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;
};

/// The puzzle and its answer side by side.
Image picture_image(PuzzleKind kind, const std::vector<int32_t>& input,
                    const std::vector<int32_t>& label);

/// Writes a PNG atomically.
void write_png(const std::filesystem::path& file, const Image& image);

}  // namespace trm

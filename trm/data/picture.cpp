#include "trm/data/picture.h"

#include <algorithm>
#include <array>
#include <stdexcept>

#include <fmt/format.h>
#include <libdeflate.h>

#include "trm/data/maze.h"
#include "trm/io/atomic_file.h"

namespace trm {

namespace {

struct Colour {
  uint8_t r, g, b;
};
constexpr Colour kBlack{0, 0, 0}, kWhite{255, 255, 255}, kGrey{170, 170, 170}, kBlue{30, 90, 200};

/// The colours in which ARC is shown on its site.
constexpr Colour kArcColours[10] = {
    {0, 0, 0},       {0, 116, 217},  {255, 65, 54},  {46, 204, 64},   {255, 220, 0},
    {170, 170, 170}, {240, 18, 190}, {255, 133, 27}, {127, 219, 255}, {135, 12, 37}};
constexpr int kArcTerminal[10] = {16, 32, 203, 41, 220, 248, 199, 208, 117, 88};

/// A cell of either picture: its background, and a character on it.
struct Cell {
  Colour back = kWhite;
  char text = ' ';
  Colour ink = kBlack;
  int terminal = -1;  // background among the 256 colours; -1: none
};

struct Picture {
  int rows = 0, columns = 0;
  int box_rows = 0, box_columns = 0;  // thicker lines between these; 0: none
  std::vector<Cell> cells;
};

Picture draw(PuzzleKind kind, const std::vector<int32_t>& tokens,
             const std::vector<int32_t>& input) {
  Picture p;
  if (kind == PuzzleKind::sudoku) {
    Sudoku s = sudoku_from_tokens(tokens), given = sudoku_from_tokens(input);
    p = {s.size, s.size, s.box_rows(), s.box_columns(), {}};
    for (size_t i = 0; i < static_cast<size_t>(s.count()); ++i) {
      char digit = s.cells[i] ? static_cast<char>('0' + s.cells[i]) : '.';
      p.cells.push_back({kWhite, digit, given.cells[i] ? kBlack : kBlue, -1});
    }
    return p;
  }
  Grid grid = grid_from_tokens(kind, tokens);
  p.rows = grid.rows;
  p.columns = grid.columns;
  for (uint8_t value : grid.cells) {
    Cell cell;
    if (kind == PuzzleKind::arc) {
      auto c = static_cast<size_t>(std::min<int>(value, 9));
      cell = {kArcColours[c], static_cast<char>('0' + value), kArcColours[c], kArcTerminal[c]};
    } else if (kind == PuzzleKind::maze && value >= 1 && value <= kMazeCharacters.size()) {
      constexpr Colour back[] = {
          {60, 60, 60}, kWhite, {46, 204, 64}, {255, 65, 54}, {127, 190, 255}};
      constexpr int terminal[] = {238, -1, 41, 203, 117};
      auto t = static_cast<size_t>(value - 1);
      cell = {back[t], kMazeCharacters[t], back[t], terminal[t]};
    } else {
      cell.text = value < 10 ? static_cast<char>('0' + value) : '?';
    }
    p.cells.push_back(cell);
  }
  return p;
}

std::string text_row(const Picture& p, int row, bool colours) {
  std::string line;
  for (int c = 0; c < p.columns; ++c) {
    if (row >= p.rows) {
      line += "  ";
      continue;
    }
    auto& cell = p.cells[static_cast<size_t>(row * p.columns + c)];
    if (colours && cell.terminal >= 0) {
      line += fmt::format("\x1b[48;5;{}m  \x1b[0m", cell.terminal);
    } else if (colours && cell.ink.b == kBlue.b && cell.ink.r == kBlue.r) {
      line += fmt::format("\x1b[34m{}\x1b[0m ", cell.text);
    } else {
      line += cell.text;
      line += ' ';
    }
    if (p.box_columns && (c + 1) % p.box_columns == 0 && c + 1 < p.columns) line += "| ";
  }
  return line;
}

// Digits of 3x5 dots, one octal digit a row from the top.
constexpr std::array<uint16_t, 10> kDigits = {075557, 026227, 071747, 071717, 055711,
                                              074717, 074757, 071111, 075757, 075717};
constexpr int kCell = 16, kGap = 24;

void fill(Image& image, int x, int y, int w, int h, Colour c) {
  for (int j = y; j < std::min(y + h, image.height); ++j) {
    for (int i = x; i < std::min(x + w, image.width); ++i) {
      auto at = static_cast<size_t>(j * image.width + i) * 3;
      image.pixels[at] = c.r;
      image.pixels[at + 1] = c.g;
      image.pixels[at + 2] = c.b;
    }
  }
}

void paint(const Picture& p, int left, Image& image) {
  fill(image, left, 0, p.columns * kCell + 1, p.rows * kCell + 1, kGrey);
  for (int r = 0; r < p.rows; ++r) {
    for (int c = 0; c < p.columns; ++c) {
      auto& cell = p.cells[static_cast<size_t>(r * p.columns + c)];
      int x = left + c * kCell, y = r * kCell;
      fill(image, x + 1, y + 1, kCell - 1, kCell - 1, cell.back);
      if (cell.text < '0' || cell.text > '9' ||
          cell.ink.r + cell.ink.g == cell.back.r + cell.back.g) {
        continue;
      }
      for (int dot = 0; dot < 15; ++dot) {
        if (kDigits[static_cast<size_t>(cell.text - '0')] >> (14 - dot) & 1) {
          fill(image, x + 5 + dot % 3 * 2, y + 3 + dot / 3 * 2, 2, 2, cell.ink);
        }
      }
    }
  }
  for (int k = 0; p.box_rows && k <= p.rows; k += p.box_rows) {
    fill(image, left, k * kCell, p.columns * kCell + 1, 1, kBlack);
  }
  for (int k = 0; p.box_columns && k <= p.columns; k += p.box_columns) {
    fill(image, left + k * kCell, 0, 1, p.rows * kCell + 1, kBlack);
  }
}

std::string big_endian(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

std::string chunk(const std::string& type, const std::string& data) {
  std::string body = type + data;
  return big_endian(static_cast<uint32_t>(data.size())) + body +
         big_endian(libdeflate_crc32(0, body.data(), body.size()));
}

}  // namespace

std::string picture_text(PuzzleKind kind, const std::vector<int32_t>& input,
                         const std::vector<int32_t>& label, bool colours) {
  Picture a = draw(kind, input, input), b = draw(kind, label, input);
  std::string text;
  for (int r = 0; r < std::max(a.rows, b.rows); ++r) {
    if (a.box_rows && r > 0 && r % a.box_rows == 0) {
      std::string rule(static_cast<size_t>(2 * a.columns + 2 * (a.columns / a.box_columns - 1)),
                       '-');
      text += rule + "   " + rule + "\n";
    }
    text += text_row(a, r, colours) + "   " + text_row(b, r, colours) + "\n";
  }
  return text;
}

std::string answer_text(PuzzleKind kind, const std::vector<int32_t>& input,
                        const std::vector<int32_t>& answer, bool colours) {
  Picture p = draw(kind, answer, input);
  std::string text;
  for (int r = 0; r < p.rows; ++r) text += text_row(p, r, colours) + "\n";
  return text;
}

Image picture_image(PuzzleKind kind, const std::vector<int32_t>& input,
                    const std::vector<int32_t>& label) {
  Picture a = draw(kind, input, input), b = draw(kind, label, input);
  Image image;
  image.width = (a.columns + b.columns) * kCell + kGap + 2;
  image.height = std::max(a.rows, b.rows) * kCell + 1;
  image.pixels.assign(static_cast<size_t>(image.width * image.height) * 3, 255);
  paint(a, 0, image);
  paint(b, a.columns * kCell + 1 + kGap, image);
  return image;
}

void write_png(const std::filesystem::path& file, const Image& image) {
  std::string raw;  // each line starts with its filter: none
  auto stride = static_cast<size_t>(image.width) * 3;
  for (size_t y = 0; y < static_cast<size_t>(image.height); ++y) {
    raw += '\0';
    raw.append(reinterpret_cast<const char*>(image.pixels.data()) + y * stride, stride);
  }
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(6);
  if (!compressor) throw std::bad_alloc();
  std::string packed(libdeflate_zlib_compress_bound(compressor, raw.size()), '\0');
  packed.resize(
      libdeflate_zlib_compress(compressor, raw.data(), raw.size(), packed.data(), packed.size()));
  libdeflate_free_compressor(compressor);
  std::string head = big_endian(static_cast<uint32_t>(image.width)) +
                     big_endian(static_cast<uint32_t>(image.height)) +
                     std::string("\x08\x02\0\0\0", 5);
  write_file_atomically(
      file, "\x89PNG\r\n\x1a\n" + chunk("IHDR", head) + chunk("IDAT", packed) + chunk("IEND", ""));
}

}  // namespace trm

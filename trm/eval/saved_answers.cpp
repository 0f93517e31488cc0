#include "trm/eval/saved_answers.h"

#include <algorithm>
#include <memory>

#include "trm/checkpoint/checkpoint.h"
#include "trm/io/text.h"

namespace trm {

namespace {

bool is_whole(const mx::Dtype& dtype) { return mx::issubdtype(dtype, mx::integer); }

}  // namespace

SavedFile read_saved_answers(const std::filesystem::path& path) {
  auto file = load_checkpoint(path);
  auto name = printable(path.string());
  auto find = [&](const char* key) -> std::optional<mx::array> {
    auto* found = file.find(key);
    return found ? std::optional(*found) : std::nullopt;
  };
  auto found_preds = find("preds"), found_q = find("q_halt_logits");
  if (!found_preds || !found_q) fail("[preds] {} holds no preds and q_halt_logits", name);
  auto preds = *found_preds, q_halt = *found_q;
  if (preds.ndim() == 2) preds = mx::expand_dims(preds, 0);
  if (q_halt.ndim() == 1) q_halt = mx::expand_dims(q_halt, 0);
  bool fits = preds.ndim() == 3 && q_halt.ndim() == 2 && is_whole(preds.dtype()) &&
              mx::issubdtype(q_halt.dtype(), mx::floating) && preds.shape(0) == q_halt.shape(0) &&
              preds.shape(1) == q_halt.shape(1) && preds.size() > 0;
  if (!fits) {
    fail(
        "[preds] {}: preds of whole numbers (steps, rows, cells) and q_halt_logits (steps, rows) "
        "are expected",
        name);
  }
  int steps = preds.shape(0), rows = preds.shape(1), cells = preds.shape(2);
  auto whole = [&](const mx::array& a) { return mx::contiguous(mx::astype(a, mx::int32)); };
  SavedFile out{{steps, cells, rows, whole(preds), mx::contiguous(mx::astype(q_halt, mx::float32))},
                std::nullopt};
  mx::eval(out.answers.preds, out.answers.q_halt);

  auto inputs = find("inputs"), identifiers = find("puzzle_identifiers"), labels = find("labels");
  if (!inputs || !identifiers) return out;
  auto of_rows = [&](const mx::array& a) {
    return is_whole(a.dtype()) && a.shape() == mx::Shape{rows, cells};
  };
  if (!of_rows(*inputs) || (labels && !of_rows(*labels)) || !is_whole(identifiers->dtype()) ||
      identifiers->shape() != mx::Shape{rows}) {
    fail("[preds] {}: inputs, labels or puzzle_identifiers do not belong to the preds", name);
  }
  out.rows = SavedFile::Rows{
      whole(*inputs), labels ? whole(*labels) : mx::full({rows, cells}, kIgnoreLabel, mx::int32),
      whole(*identifiers)};
  mx::eval(out.rows->inputs, out.rows->labels, out.rows->puzzle_identifiers);
  return out;
}

NextBatch batches_of(const SavedFile& file, int batch_size) {
  return [rows = file.rows.value(), cells = file.answers.cells, total = file.answers.rows,
          position = int64_t{0}, batch_size]() mutable -> std::optional<Batch> {
    if (position >= total) return std::nullopt;
    Batch batch;
    batch.rows = static_cast<int>(std::min<int64_t>(batch_size, total - position));
    batch.size = batch.global_rows = batch.rows;
    batch.seq_len = cells;
    auto take = [&](const mx::array& a, int width) {
      const int32_t* from = a.data<int32_t>() + position * width;
      return std::vector<int32_t>(from, from + static_cast<int64_t>(batch.rows) * width);
    };
    batch.inputs = take(rows.inputs, cells);
    batch.labels = take(rows.labels, cells);
    batch.puzzle_identifiers = take(rows.puzzle_identifiers, 1);
    for (int i = 0; i < batch.rows; ++i) batch.examples.push_back(position + i);
    position += batch.rows;
    return batch;
  };
}

}  // namespace trm

// JSON as data sets hold it: dataset.json, an ARC task, a puzzle's name.
#include "fuzz/common.h"
#include "trm/data/arc_dataset.h"
#include "trm/data/json_file.h"
#include "trm/data/puzzle_dataset.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trm;
  std::string text(reinterpret_cast<const char*>(data), size);
  fuzz::refusals_are_fine([&] {
    auto m = parse_metadata(text, "dataset.json");
    auto again = parse_metadata(metadata_text(m), "dataset.json");
    if (metadata_text(again) != metadata_text(m)) abort();
  });
  return fuzz::refusals_are_fine([&] {
    auto json = parse_json(text, "x.json");
    python_json(json);
    if (json.is_string()) {
      auto name = parse_arc_name(json.get<std::string>());
      Grid grid{1, 3, {1, 5, 9}};
      if (name.augmentation.inverse(name.augmentation(grid)) != grid) abort();
    } else {
      auto task = parse_arc_task("task", json);
      if (task.train.empty() || task.test.empty()) abort();
    }
  });
}

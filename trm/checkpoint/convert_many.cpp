#include "trm/checkpoint/convert_many.h"

#include <algorithm>
#include <map>

#include "trm/checkpoint/shards.h"
#include "trm/io/atomic_file.h"
#include "trm/io/byte_source.h"
#include "trm/io/text.h"

namespace trm {

namespace fs = std::filesystem;

bool looks_like_checkpoint(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;
  Source source = open_file(path);
  std::string head(std::min<uint64_t>(source->size(), 512), '\0');
  source->read(0, head.data(), head.size());
  std::string_view view(head);
  bool tar = head.size() >= 262 && view.substr(257, 5) == "ustar";
  bool safetensors = head.size() > 9 && head[8] == '{' && head[7] == 0 && head[6] == 0;
  return head.starts_with("PK\3\4") || head.starts_with("\x93NUMPY") ||
         head.starts_with("\x80\x02\x8a\x0a") || tar || safetensors;
}

std::vector<Job> plan_jobs(const std::vector<fs::path>& inputs, const fs::path& out_dir,
                           const char* extension) {
  std::vector<fs::path> files;
  for (const fs::path& input : inputs) {
    if (!fs::is_directory(input) || !find_index(input).empty()) {
      files.push_back(input);
      continue;
    }
    size_t before = files.size();
    for (const auto& entry : fs::directory_iterator(input))
      if (looks_like_checkpoint(entry.path())) files.push_back(entry.path());
    std::sort(files.begin() + static_cast<ptrdiff_t>(before), files.end());
    if (files.size() == before)
      fail("[convert] the folder {} holds no checkpoint", printable(input.string()));
  }
  fs::path common;
  for (size_t i = 0; i < files.size(); ++i) {
    fs::path folder = fs::absolute(files[i]).lexically_normal().parent_path();
    if (i == 0) common = folder;
    while (!common.empty() && common != common.root_path()) {
      fs::path relative = folder.lexically_relative(common);
      if (!relative.empty() && *relative.begin() != "..") break;
      common = common.parent_path();
    }
  }
  std::vector<Job> jobs;
  std::map<fs::path, fs::path> taken;
  for (const fs::path& file : files) {
    fs::path relative = fs::absolute(file).lexically_normal().lexically_relative(common);
    fs::path output = out_dir / relative;
    output += extension;
    if (!taken.emplace(output, file).second)
      fail("[convert] {} and {} would both be written to {}", printable(taken[output].string()),
           printable(file.string()), printable(output.string()));
    jobs.push_back({file, output});
  }
  return jobs;
}

CopyResult copy_file_atomically(const fs::path& from, const fs::path& to) {
  constexpr uint64_t kLargest = 16 << 20;
  auto text = [](const fs::path& path) {
    Source source = open_file(path);
    if (source->size() > kLargest)
      fail("[copy] {} has {} bytes: no configuration is so large", printable(path.string()),
           source->size());
    auto bytes = whole(source).all();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  std::string content = text(from);
  if (fs::exists(to)) return text(to) == content ? CopyResult::same : CopyResult::kept;
  write_file_atomically(to, content);
  return CopyResult::copied;
}

}  // namespace trm

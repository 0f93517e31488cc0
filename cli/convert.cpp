// trm convert: a PyTorch checkpoint (or any other that is read) to MLX, and back.
#include "trm/checkpoint/convert.h"

#include <filesystem>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/checkpoint_flags.h"
#include "cli/checks.h"
#include "cli/commands.h"
#include "trm/checkpoint/convert_many.h"
#include "trm/data/json_file.h"
#include "trm/io/text.h"

namespace trm::cli {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostMetadata = size_t{1} << 20;  // bytes of a --metadata file

struct Arguments {
  ConvertOptions options;
  std::vector<std::string> paths, renames, metadata;
  std::string out_dir, format, dtype;
  bool verify = false, quiet = false, list = false, no_copy_config = false, keep_names = false;
  double shard_megabytes = 0;
};

std::string shape_as(const SourceFile& source, const Tensor& t) {
  if (!source.is_torch()) return shape_text(t.shape);
  return fmt::format("torch.Size([{}])", fmt::join(t.shape, ", "));
}

void print_found(const Conversion& plan) {
  const Weights& weights = plan.source.weights;
  const char* torch = plan.source.is_torch() ? "torch." : "";
  fmt::print("Found {} parameters\n", weights.tensors.size());
  if (!weights.chosen.empty()) fmt::print("  taken from '{}'\n", printable(weights.chosen));
  for (auto& [name, n] : weights.left)
    fmt::print("  not converted: '{}' with {} tensors (choose it with --key {})\n", printable(name),
               n, printable(name));
  size_t shown = std::min<size_t>(weights.others.size(), 5);
  for (size_t i = 0; i < shown; ++i)
    fmt::print("  not a tensor: {} = {}\n", printable(weights.others[i].path),
               printable(weights.others[i].what));
  if (weights.others_count > shown)
    fmt::print("  and {} more entries that are no tensors\n", weights.others_count - shown);
  for (const std::string& note : weights.notes) fmt::print("  note: {}\n", note);
  for (auto& names : plan.tied) {
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + printable(name);
    fmt::print("  tied (one storage, every name is kept): {}\n", all);
  }
  if (!plan.excluded.empty())
    fmt::print("  left out by --include/--exclude: {}\n", plan.excluded.size());
  fmt::print("\nSample keys:\n");
  for (size_t i = 0; i < plan.tensors.size() && i < 5; ++i) {
    const ConvertedTensor& t = plan.tensors[i];
    Tensor as_stored = t.tensor;
    fmt::print("  {}: shape={}, dtype={}{}\n", printable(t.source_name),
               shape_as(plan.source, as_stored), torch, name_of(as_stored.dtype));
  }
  if (plan.tensors.size() > 5) fmt::print("  ...\n");
}

void print_list(const Conversion& plan) {
  for (const ConvertedTensor& t : plan.tensors)
    fmt::print("{} -> {}: shape={}, {} -> {}\n", printable(t.source_name), printable(t.name),
               shape_text(t.tensor.shape), name_of(t.tensor.dtype), name_of(t.dtype));
  for (const std::string& name : plan.excluded) fmt::print("{}: left out\n", printable(name));
}

/// The run's configuration goes along, so that the architecture is known where the weights are.
void copy_config(const fs::path& input, const fs::path& output, bool quiet) {
  fs::path from = (fs::is_directory(input) ? input : input.parent_path()) / "all_config.yaml";
  fs::path to = output.parent_path() / "all_config.yaml";
  std::error_code error;
  if (!fs::exists(from, error)) {
    if (!quiet)
      fmt::print(
          "\nNo all_config.yaml beside the input: the architecture will be inferred from the "
          "shapes\n");
    return;
  }
  if (fs::exists(to, error) && fs::equivalent(from, to, error)) return;
  CopyResult result = copy_file_atomically(from, to);
  if (quiet) return;
  fmt::print("\n{} {}\n",
             result == CopyResult::kept ? "Kept another all_config.yaml that is already at"
                                        : "Copied all_config.yaml to:",
             printable(to.string()));
}

void verify(const fs::path& input, const fs::path& output, const Arguments& a) {
  if (!a.quiet) fmt::print("\nVerifying conversion...\n");
  VerifyReport report = verify_conversion(input, output, a.options);
  bool back = a.options.format == OutputFormat::torch;
  if (!a.quiet) {
    fmt::print("{} keys: {}\n{} keys: {}\n", back ? "Source" : "PyTorch", report.source_keys,
               back ? "PyTorch" : "MLX", report.output_keys);
  }
  if (report.differences.empty()) {
    if (!a.quiet) fmt::print("\n✓ Verification passed! All tensors match within tolerance.\n");
    return;
  }
  const Difference& first = report.differences[0];
  if (!a.quiet) {
    fmt::print("\n✗ Verification failed:\n");
    for (size_t i = 0; i < report.differences.size() && i < 20; ++i)
      fmt::print("  {} {}\n", printable(report.differences[i].name), report.differences[i].what);
  }
  fail("[verify] {}: {} differences; {} {}; convert it again and check the disk",
       printable(output.string()), report.differences.size(), printable(first.name), first.what);
}

void convert_one(const fs::path& input, const fs::path& output, const Arguments& a) {
  std::error_code error;
  if (fs::exists(output, error) && fs::equivalent(input, output, error))
    fail("[convert] {} is input and output at once; give another output",
         printable(output.string()));
  bool back = a.options.format == OutputFormat::torch;
  const char* to = back ? "PyTorch" : "MLX";
  Conversion plan = plan_conversion(input, a.options);
  const char* from = plan.source.is_torch()                ? "PyTorch"
                     : plan.source.format == "safetensors" ? "safetensors"
                                                           : "MLX";
  if (!a.quiet && !a.list) {
    fmt::print("Loading {} checkpoint from: {}\n", from, printable(input.string()));
    print_found(plan);
  }
  if (a.list) return print_list(plan);
  if (!a.quiet) {
    fmt::print("\nConverted {} parameters to {} format\n\nSaving {} checkpoint to: {}\n",
               plan.tensors.size(), to, to, printable(output.string()));
    std::fflush(stdout);
  }
  std::vector<fs::path> written = write_conversion(plan, output, a.options);
  if (!a.quiet) {
    uint64_t bytes = 0;
    for (const fs::path& file : written) bytes += fs::file_size(file);
    fmt::print("Conversion complete!\n\nFile sizes:\n  {}: {}\n  {}: {}\n", from,
               megabytes(plan.source.bytes), to, megabytes(bytes));
    if (written.size() > 1)
      fmt::print("  in {} files, index: {}\n", written.size() - 1,
                 printable(written.back().string()));
  }
  if (!a.no_copy_config) copy_config(input, output, a.quiet);
  if (a.verify) verify(input, written.back(), a);
}

void set_options(Arguments& a) {
  ConvertOptions& o = a.options;
  o.strip_orig_mod = !a.keep_names;
  for (const std::string& text : a.renames) {
    size_t at = text.find('=');
    if (at == 0 || at == text.npos) throw CLI::ValidationError("--rename", "takes OLD=NEW");
    o.renames.emplace_back(text.substr(0, at), text.substr(at + 1));
  }
  for (const std::string& text : a.metadata) {
    size_t at = text.find('=');
    if (at == 0 || at == text.npos) throw CLI::ValidationError("--metadata", "takes KEY=VALUE");
    bool file = text.compare(at + 1, 1, "@") == 0;
    o.metadata[text.substr(0, at)] =
        file ? read_text_file(text.substr(at + 2), kMostMetadata) : text.substr(at + 1);
  }
  if (!a.dtype.empty()) o.dtypes.floats = dtype_of_name(a.dtype);
  o.shard_bytes = static_cast<uint64_t>(a.shard_megabytes * (1 << 20));
}

void set_format(Arguments& a, const std::string& output) {
  ConvertOptions& o = a.options;
  if (a.format == "npz")
    o.format = OutputFormat::npz;
  else if (a.format == "safetensors")
    o.format = OutputFormat::safetensors;
  else if (a.format == "torch")
    o.format = OutputFormat::torch;
  else if (!output.empty())
    o.format = format_of_name(output).value_or(OutputFormat::npz);
  if (o.dtypes.keep_float64 && o.format == OutputFormat::safetensors)
    throw CLI::ValidationError("--keep-f64", "MLX reads no float64 from .safetensors; write .npz");
  if (!o.metadata.empty() && o.format != OutputFormat::safetensors)
    throw CLI::ValidationError("--metadata", "only .safetensors holds metadata");
  if (o.shard_bytes && o.format != OutputFormat::safetensors)
    throw CLI::ValidationError("--shard-size", "only .safetensors can be written in shards");
}

void run(Arguments& a) {
  set_options(a);
  if (a.out_dir.empty()) {
    if (a.paths.size() > 2) throw CLI::ValidationError("paths", "several inputs need --out-dir");
    fs::path output = a.paths.size() == 2 ? a.paths[1] : "";
    set_format(a, output.string());
    std::string default_name = fs::path(a.paths[0]).lexically_normal().string();
    while (default_name.size() > 1 && default_name.ends_with('/')) default_name.pop_back();
    default_name += extension(a.options.format);
    if (output.empty()) output = default_name;
    if (fs::is_directory(output)) output /= fs::path(default_name).filename();
    return convert_one(a.paths[0], output, a);
  }
  set_format(a, "");
  size_t failed = 0;
  std::vector<Job> jobs =
      plan_jobs({a.paths.begin(), a.paths.end()}, a.out_dir, extension(a.options.format));
  for (const Job& job : jobs) {
    try {
      if (!a.list) fs::create_directories(job.output.parent_path());
      convert_one(job.input, job.output, a);
      if (!a.quiet) fmt::print("\n");
    } catch (const std::runtime_error& e) {
      ++failed;
      std::string what = e.what(), name = printable(job.input.string());
      if (what.find(name) == what.npos) what = name + ": " + what;
      fmt::print(stderr, "trm: error: {}\n", what);
    }
  }
  if (failed) fail("[convert] {} of {} inputs failed", failed, jobs.size());
}

}  // namespace

void add_convert(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* c = app.add_subcommand("convert", "Convert a PyTorch checkpoint to MLX, or back");
  c->footer(
      "Examples:\n"
      "  trm convert runs/step_6510                        writes runs/step_6510.npz\n"
      "  trm convert runs/step_6510 mlx/step_6510.npz --verify\n"
      "  trm convert model.pt model.safetensors --keep-bf16\n"
      "  trm convert step_100.npz step_100.pt --orig-mod   back to PyTorch, names as torch.compile "
      "leaves them\n"
      "  trm convert runs/*/step_* --out-dir mlx           several at once\n"
      "  trm convert train.ckpt --list --key ema           what a part of a file holds");
  c->add_option("checkpoint", a->paths, "input [output]; the output defaults to <input>.npz")
      ->required()
      ->type_name("PATH");
  c->add_option("--out-dir", a->out_dir, "convert all paths (files or folders) into this folder");
  c->add_option("--format", a->format, "npz, safetensors or torch; else by the output's extension")
      ->check(CLI::IsMember({"npz", "safetensors", "torch"}));
  c->add_flag("--verify", a->verify, "read both files again and compare every element bit for bit");
  c->add_flag("--quiet,-q", a->quiet, "print nothing but errors");
  c->add_flag("--list", a->list, "only say what would be converted");
  c->add_flag("--no-copy-config", a->no_copy_config, "do not copy all_config.yaml along");
  c->add_option("--key", a->options.source.key,
                "the part of a PyTorch file to take, a dotted path; '.' for all of it");
  c->add_option("--dtype", a->dtype, "dtype of all floating-point tensors")
      ->check(CLI::IsMember({"float32", "float16", "bfloat16", "float64"}));
  c->add_flag("--keep-bf16", a->options.dtypes.keep_bfloat16, "bfloat16 stays (else float32)");
  c->add_flag("--keep-f64", a->options.dtypes.keep_float64,
              "float64 stays (else float32); .npz and PyTorch only");
  c->add_flag("--allow-overflow", a->options.dtypes.allow_overflow,
              "values beyond the new type become infinite");
  c->add_option("--transpose", a->options.transpose,
                "transpose matrices whose name matches this glob");
  c->add_option("--include", a->options.include, "only names that match one of these globs");
  c->add_option("--exclude", a->options.exclude, "no names that match one of these globs");
  c->add_option("--strip-prefix", a->options.strip_prefixes, "drop this from the front of names");
  c->add_option("--rename", a->renames, "OLD=NEW: a whole name, or its front up to a dot");
  c->add_option(
      "--metadata", a->metadata,
      "KEY=VALUE, or KEY=@FILE for a file's text, into a .safetensors; with\n"
      "all_config=@run/all_config.yaml the file alone is a model that eval and solve take");
  c->add_flag("--keep-orig-mod", a->keep_names, "keep the _orig_mod of torch.compile in names");
  c->add_flag("--orig-mod", a->options.add_orig_mod,
              "put _orig_mod. before every name, as torch.compile does");
  c->add_option("--shard-size", a->shard_megabytes,
                "MB of tensors a .safetensors file, with an index; 0: one file")
      ->check(kNotNegative);
  c->add_option("--threads", a->options.write.threads, "0: one a processor");
  for (const char* list :
       {"--transpose", "--include", "--exclude", "--strip-prefix", "--rename", "--metadata"})
    c->get_option(list)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_limit_flags(*c, a->options.source.limits);
  c->callback([a] { run(*a); });
}

}  // namespace trm::cli

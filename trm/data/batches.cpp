#include "trm/data/batches.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "trm/io/text.h"

namespace trm {

namespace {

/// Rows a rank holds of each global batch.
int local_size(int64_t global_batch_size, int rank, int num_replicas) {
  if (num_replicas < 1 || rank < 0 || rank >= num_replicas) {
    throw std::invalid_argument(
        fmt::format("[batches] rank {} of {} replicas is impossible", rank, num_replicas));
  }
  if (global_batch_size < 1 || global_batch_size > 1 << 24 ||
      global_batch_size % num_replicas != 0) {
    throw std::invalid_argument(fmt::format(
        "[batches] global_batch_size {} is not a positive multiple of the {} replicas (up to 2^24)",
        global_batch_size, num_replicas));
  }
  return static_cast<int>(global_batch_size / num_replicas);
}

nlohmann::json to_json(const NumpyPhilox::State& s) {
  return {{"counter", s.counter},    {"key", s.key},           {"buffer", s.buffer},
          {"at", s.buffer_position}, {"has_half", s.has_half}, {"half", s.half}};
}

NumpyPhilox::State to_state(const nlohmann::json& j) {
  NumpyPhilox::State s;
  j.at("counter").get_to(s.counter);
  j.at("key").get_to(s.key);
  j.at("buffer").get_to(s.buffer);
  j.at("at").get_to(s.buffer_position);
  j.at("has_half").get_to(s.has_half);
  j.at("half").get_to(s.half);
  return s;
}

}  // namespace

TrainIterator::TrainIterator(const PuzzleDataset& data, const TrainOptions& options)
    : data_(data), options_(options), shuffler_(0), sampler_(0) {
  (void)local_size(options.global_batch_size, options.rank, options.num_replicas);
  if (options.epochs_per_iteration < 1) {
    throw std::invalid_argument(fmt::format("[batches] {} epochs an iteration are impossible",
                                            options.epochs_per_iteration));
  }
  if (data.groups() > INT32_MAX) throw std::invalid_argument("[batches] too many groups");
}

void TrainIterator::start_iteration() {
  ++iteration_;
  running_ = true;
  shuffler_ = NumpyPhilox(options_.seed + static_cast<uint64_t>(iteration_));
  epoch_start_ = shuffler_.state();
  auto groups = static_cast<int32_t>(data_.groups());
  // The reference shuffles every epoch of the iteration before it draws the first puzzle. Drawing
  // those numbers twice keeps one epoch in memory and not all.
  sampler_ = shuffler_;
  for (int64_t i = 0; i < options_.epochs_per_iteration; ++i) sampler_.skip_permutation(groups);
  shuffler_.permutation(groups, order_);
  epoch_ = cursor_ = 0;
}

bool TrainIterator::next_group(int64_t& group) {
  if (cursor_ == static_cast<int64_t>(order_.size())) {
    if (epoch_ + 1 == options_.epochs_per_iteration) return false;
    ++epoch_;
    cursor_ = 0;
    epoch_start_ = shuffler_.state();
    shuffler_.permutation(static_cast<int32_t>(data_.groups()), order_);
  }
  group = order_[static_cast<size_t>(cursor_++)];
  return true;
}

std::optional<Batch> TrainIterator::next() {
  if (!running_) start_iteration();
  int rows = local_size(options_.global_batch_size, options_.rank, options_.num_replicas);
  int64_t first = int64_t{rows} * options_.rank, taken = 0;
  Batch batch = data_.empty_batch(rows);
  while (taken < options_.global_batch_size) {
    int64_t group;
    if (!next_group(group)) {
      running_ = false;
      return std::nullopt;
    }
    auto [set, local] = data_.locate_group(group);
    auto g = static_cast<size_t>(local);
    auto puzzle =
        static_cast<size_t>(sampler_.integers(set->group_indices[g], set->group_indices[g + 1]));
    int64_t start = set->puzzle_indices[puzzle];
    int64_t size = set->puzzle_indices[puzzle + 1] - start;
    sampler_.choice(size, std::min(size, options_.global_batch_size - taken), chosen_);
    for (int64_t example : chosen_) {
      int64_t row = taken++ - first;
      if (row < 0 || row >= rows) continue;  // another rank's
      data_.fill_row(data_.first_example(set) + start + example, set->puzzle_identifiers[puzzle],
                     static_cast<int>(row), batch);
    }
  }
  batch.rows = rows;
  batch.global_rows = static_cast<int>(options_.global_batch_size);
  return batch;
}

std::string TrainIterator::state() const {
  nlohmann::json j = {{"seed", options_.seed},
                      {"global_batch_size", options_.global_batch_size},
                      {"epochs_per_iteration", options_.epochs_per_iteration},
                      {"groups", data_.groups()},
                      {"examples", data_.examples()},
                      {"iteration", iteration_},
                      {"running", running_}};
  if (running_) {
    j["epoch"] = epoch_;
    j["cursor"] = cursor_;
    j["epoch_start"] = to_json(epoch_start_);
    j["sampler"] = to_json(sampler_.state());
  }
  return j.dump();
}

void TrainIterator::restore(const std::string& state) {
  try {
    auto j = nlohmann::json::parse(state);
    auto same = [&](const char* key, auto ours) {
      auto theirs = j.at(key).get<decltype(ours)>();
      if (theirs != ours) {
        fail("[resume] the saved data position belongs to {} = {}, this run has {}", key, theirs,
             ours);
      }
    };
    same("seed", options_.seed);
    same("global_batch_size", options_.global_batch_size);
    same("epochs_per_iteration", options_.epochs_per_iteration);
    same("groups", data_.groups());
    same("examples", data_.examples());
    auto iteration = j.at("iteration").get<int64_t>();
    bool running = j.at("running").get<bool>();
    if (iteration < 0) fail("[resume] the saved data position is damaged");
    if (running) {
      auto epoch = j.at("epoch").get<int64_t>(), cursor = j.at("cursor").get<int64_t>();
      auto epoch_start = to_state(j.at("epoch_start"));
      auto sampler = to_state(j.at("sampler"));
      if (epoch < 0 || epoch >= options_.epochs_per_iteration || cursor < 0 ||
          cursor > data_.groups()) {
        fail("[resume] the saved data position is damaged");
      }
      epoch_ = epoch;
      cursor_ = cursor;
      epoch_start_ = epoch_start;
      shuffler_ = NumpyPhilox(epoch_start);
      shuffler_.permutation(static_cast<int32_t>(data_.groups()), order_);
      sampler_ = NumpyPhilox(sampler);
    }
    iteration_ = iteration;
    running_ = running;
  } catch (const nlohmann::json::exception& e) {
    fail("[resume] the saved data position is damaged: {}", printable(e.what()));
  }
}

EvalIterator::EvalIterator(const PuzzleDataset& data, int64_t global_batch_size, int rank,
                           int num_replicas, std::optional<int64_t> limit)
    : data_(data),
      global_batch_size_(global_batch_size),
      end_(std::min(data.examples(), limit.value_or(data.examples()))),
      rank_(rank),
      local_size_(local_size(global_batch_size, rank, num_replicas)) {
  if (limit && *limit < 1) throw std::invalid_argument("[batches] the limit is below 1");
}

std::optional<Batch> EvalIterator::next() {
  if (position_ >= end_) return std::nullopt;
  Batch batch = data_.empty_batch(local_size_);
  int64_t end = std::min(position_ + global_batch_size_, end_);
  int64_t first = std::min(position_ + int64_t{rank_} * local_size_, end);
  int64_t last = std::min(first + local_size_, end);
  for (int64_t example = first; example < last; ++example) {
    data_.fill_row(example, data_.identifier_of(example), static_cast<int>(example - first), batch);
  }
  batch.rows = static_cast<int>(last - first);
  batch.global_rows = static_cast<int>(end - position_);
  position_ = end;
  return batch;
}

}  // namespace trm

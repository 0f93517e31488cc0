#include "trm/train/report.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/train/run_test_util.h"
#include "trm/io/atomic_file.h"
#include "trm/train/metrics_log.h"

namespace trm {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

class Report : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("trm_report_" + std::to_string(getpid()));
    fs::create_directories(folder_ / "a<script>b");
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

/// The data inside a page.
nlohmann::json data_of(const std::string& page) {
  auto begin = page.find("const RUNS = ") + 13;
  return nlohmann::json::parse(page.substr(begin, page.find(";\n", begin) - begin));
}

TEST_F(Report, AveragesByTheRowsThatHalted) {
  std::string text;
  for (int i = 1; i <= 4000; ++i) {
    // Every second step halts 3 rows, all right; the others halt none.
    text += MetricsLine{i,
                        i * 0.5,
                        {{"train/loss", 4000.0 - i},
                         {"train/count", i % 2 ? 0.0 : 3.0},
                         {"train/exact_accuracy", i % 2 ? 0.0 : 1.0}}}
                .text() +
            "\n";
  }
  text += MetricsLine{4000, 2000, {{"eval/exact_accuracy", 0.75}}}.text() + "\n";
  write_file_atomically(folder_ / "a<script>b" / "metrics.jsonl", text);
  auto page = report_page({folder_ / "a<script>b"});
  EXPECT_THAT(page, Not(HasSubstr("a<script>b")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  auto runs = data_of(page);
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0]["name"], "a<script>b");
  EXPECT_EQ(runs[0]["best"], 0.75);
  EXPECT_EQ(runs[0]["last_step"], 4000);
  auto& exact = runs[0]["series"]["train/exact_accuracy"];
  EXPECT_EQ(exact["value"].size(), 1000u);
  for (double v : exact["value"]) EXPECT_EQ(v, 1.0);
  auto& loss = runs[0]["series"]["train/loss"];
  EXPECT_EQ(loss["value"][0], 4000 - 2.5);
  EXPECT_EQ(loss["step"][0], 2.5);
}

TEST_F(Report, RefusesWhatHoldsNoMetrics) {
  EXPECT_THROW(report_page({folder_ / "nothing"}), std::runtime_error);
  write_file_atomically(folder_ / "metrics.jsonl", "");
  EXPECT_THROW(report_page({folder_}), std::runtime_error);
  write_file_atomically(folder_ / "metrics.jsonl", "{\"step\": 1}\nnonsense\n{\"step\": 2}\n");
  try {
    report_page({folder_});
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_THAT(e.what(), HasSubstr("line 2"));
  }
}

TEST(MetricsLog, KeepsWholeLinesUpToTheStep) {
  auto file = fs::temp_directory_path() / ("trm_metrics_" + std::to_string(getpid()) + ".jsonl");
  std::string first = MetricsLine{1, 0.1, {{"train/loss", 2}}}.text();
  std::string evaluation = MetricsLine{2, 0.2, {{"eval/accuracy", 0.5}}}.text();
  write_file_atomically(file, first + "\n" + evaluation + "\n" +
                                  MetricsLine{3, 0.3, {{"train/loss", 1}}}.text() +
                                  "\n{\"step\": 4, \"ti");
  {
    MetricsLog log(file, 2);
    EXPECT_EQ(log.evaluated_at(), 2);
    log.append({3, 0.4, {{"train/loss", std::numeric_limits<double>::quiet_NaN()}}});
  }
  EXPECT_EQ(testing_run::RunTest::read(file),
            first + "\n" + evaluation + "\n{\"step\": 3, \"time\": 0.400, \"train/loss\": null}\n");
  fs::remove(file);
}

TEST(Selftest, PassesHere) {
  FILE* pipe = popen(TRM_PROGRAM " selftest", "r");
  std::string out;
  for (char buffer[256]; fgets(buffer, sizeof buffer, pipe);) out += buffer;
  EXPECT_EQ(pclose(pipe), 0) << out;
  EXPECT_THAT(out, HasSubstr("All 15 checks passed"));
}

}  // namespace
}  // namespace trm

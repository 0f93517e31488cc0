// What the program says of itself: first steps, help with examples, version, completion, manual.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/program.h"

namespace trm {
namespace {

using testing::HasSubstr;

/// The names under "Subcommands:" of a help text.
std::vector<std::string> commands(const std::string& help) {
  std::vector<std::string> names;
  std::istringstream lines(help.substr(std::min(help.size(), help.find("Subcommands:"))));
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line) && !line.empty()) {
    if (line.compare(0, 2, "  ") == 0 && line[2] != ' ') {
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
    }
  }
  return names;
}

TEST(Help, AloneItSaysWhatToDoFirst) {
  auto outcome = run_program({});
  EXPECT_EQ(outcome.exit_code, 0);
  for (auto what : {"First:", "trm selftest", "trm serve", "trm --help"}) {
    EXPECT_THAT(outcome.out, HasSubstr(what));
  }
}

TEST(Help, EveryCommandShowsExamples) {
  auto top = commands(run_program({"--help"}).out);
  ASSERT_GE(top.size(), 10u);
  for (auto& name : top) {
    auto help = run_program({name, "--help"});
    EXPECT_EQ(help.exit_code, 0) << name;
    auto below = commands(help.out);
    if (below.empty()) {
      EXPECT_THAT(help.out, HasSubstr("Example")) << name;
    }
    for (auto& part : below) {
      EXPECT_THAT(run_program({name, part, "--help"}).out, HasSubstr("Example")) << name << part;
    }
  }
}

TEST(Help, VersionTellsWhatItRunsOn) {
  auto outcome = run_program({"--version"});
  EXPECT_EQ(outcome.exit_code, 0);
  for (auto what : {"trm ", "\nMLX ", "\ndevices: ", "CPU", "\nBLAS: "}) {
    EXPECT_THAT(outcome.out, HasSubstr(what));
  }
}

TEST(Help, CompletionAndManualKnowEveryCommand) {
  for (auto& words : std::vector<std::vector<std::string>>{
           {"completion", "bash"}, {"completion", "zsh"}, {"man"}}) {
    auto outcome = run_program(words);
    EXPECT_EQ(outcome.exit_code, 0);
    for (auto& name : commands(run_program({"--help"}).out)) {
      EXPECT_THAT(outcome.out, HasSubstr("trm " + name)) << words.back();
    }
    EXPECT_THAT(outcome.out, HasSubstr(words[0] == "man" ? "\\-\\-checkpoint" : "--checkpoint"));
  }
  EXPECT_EQ(run_program({"completion", "fish"}).exit_code, 2);
}

TEST(Help, BashCompletesCommandsAndOptions) {
  TempDir folder;
  write_file(folder / "trm.bash", run_program({"completion", "bash"}).out);
  auto complete = [&](const std::string& words, int at) {
    auto command = "bash -c 'source " + (folder / "trm.bash").string() + "; COMP_WORDS=(" + words +
                   "); COMP_CWORD=" + std::to_string(at) + "; _trm; echo ${COMPREPLY[@]}'";
    std::string out;
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[256];
    while (size_t n = fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
    pclose(pipe);
    return out;
  };
  EXPECT_EQ(complete("trm sol", 1), "solve\n");
  EXPECT_EQ(complete("trm serve --max-q", 2), "--max-queue\n");
  EXPECT_EQ(complete("trm dataset sud", 2), "sudoku\n");
  EXPECT_THAT(complete("trm dataset sudoku --gen", 3), HasSubstr("--generate"));
}

TEST(Help, ServeSaysWhatItNeeds) {
  EXPECT_EQ(run_program({"serve", "--port", "99999"}).exit_code, 2);
  EXPECT_EQ(run_program({"serve", "--checkpoint", "/nowhere"}).exit_code, 1);
  EXPECT_EQ(run_program({"serve", "--runs", "/nowhere"}).exit_code, 1);
}

}  // namespace
}  // namespace trm

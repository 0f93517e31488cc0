// trm completion and trm man: made from the program's own options, so that they cannot grow stale.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <sstream>

#include <fmt/format.h>

#include "cli/commands.h"

namespace trm::cli {

namespace {

using Apps = std::vector<const CLI::App*>;

Apps subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* c) { return !c->get_name().empty(); });
}

/// Every command below `app`, and itself, with the words that lead to it.
void walk(const CLI::App& app, const std::string& words,
          const std::function<void(const CLI::App&, const std::string&)>& visit) {
  visit(app, words);
  for (auto c : subcommands(app)) walk(*c, words + " " + c->get_name(), visit);
}

std::vector<std::string> flags(const CLI::App& app) {
  std::vector<std::string> names;
  for (auto o : app.get_options()) {
    for (auto& n : o->get_lnames()) names.push_back("--" + n);
    for (auto& n : o->get_snames()) names.push_back("-" + n);
  }
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

std::string words_of(const CLI::App& app) {
  auto words = flags(app);
  for (auto c : subcommands(app)) words.push_back(c->get_name());
  return joined(words);
}

std::string bash(const CLI::App& app) {
  std::string names, cases;
  walk(app, "trm", [&](const CLI::App& a, const std::string& words) {
    cases += fmt::format("    '{}') words='{}' ;;\n", words, words_of(a));
    if (words != "trm") names += fmt::format("      '{}') path=$next ;;\n", words);
  });
  return fmt::format(R"(# Completion of trm for bash, made by `trm completion bash`.
_trm() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} path=trm next words i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    next="$path ${{COMP_WORDS[i]}}"
    case $next in
{}    esac
  done
  case $path in
{}  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  local IFS=$'\n'  # names of files may hold spaces
  [[ $current != -* ]] && COMPREPLY+=($(compgen -f -- "$current"))
}}
complete -o filenames -F _trm trm
)",
                     names, cases);
}

std::string quoted_zsh(std::string text) {
  text.resize(std::min(text.size(), text.find('\n')));
  std::string out;
  for (char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out;
}

std::string zsh(const CLI::App& app) {
  std::string cases, names;
  walk(app, "trm", [&](const CLI::App& a, const std::string& words) {
    if (words != "trm") names += fmt::format("      '{}') line=$next ;;\n", words);
    std::string items;
    for (auto o : a.get_options()) {
      for (auto& n : o->get_lnames()) {
        items += fmt::format(" '--{}:{}'", n, quoted_zsh(o->get_description()));
      }
    }
    for (auto c : subcommands(a)) {
      items += fmt::format(" '{}:{}'", c->get_name(), quoted_zsh(c->get_description()));
    }
    cases += fmt::format("    '{}') items=({}) ;;\n", words, items);
  });
  return fmt::format(R"(#compdef trm
# Completion of trm for zsh, made by `trm completion zsh`.
_trm() {{
  local line=trm next i
  local -a items
  for ((i = 2; i < CURRENT; ++i)); do
    next="$line ${{words[i]}}"
    case $next in
{}    esac
  done
  case $line in
{}  esac
  _describe -t commands 'trm' items
  _files
}}
if [[ $funcstack[1] = _trm ]]; then _trm "$@"; else compdef _trm trm; fi
)",
                     names, cases);
}

/// Text that groff reads as it stands.
std::string roff(const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::string safe;
    for (char c : line) {
      if (c == '\\') {
        safe += "\\e";
      } else if (c == '-') {
        safe += "\\-";
      } else {
        safe += c;
      }
    }
    if (!safe.empty() && (safe[0] == '.' || safe[0] == '\'')) safe = "\\&" + safe;
    out += safe + "\n";
  }
  return out;
}

std::string man(const CLI::App& app) {
  std::string text = fmt::format(
      ".TH TRM 1 \"\" \"trm {}\"\n.SH NAME\ntrm \\- Tiny Recursive Models on MLX\n.SH SYNOPSIS\n"
      ".B trm\n.I command\n[\n.I options\n]\n.SH DESCRIPTION\n"
      "Converts, trains, evaluates and runs Tiny Recursive Models (arXiv 2510.04871), which solve\n"
      "Sudoku, mazes and ARC tasks by applying a small network to their own answer over and over.\n"
      ".SH COMMANDS\n",
      TRM_VERSION);
  walk(app, "trm", [&](const CLI::App& a, const std::string& words) {
    if (words == "trm") return;
    text += fmt::format(".SS {}\n{}", roff(words), roff(a.get_description()));
    for (auto o : a.get_options()) {
      auto name = o->get_name(false, true);
      if (name.find("--help") != name.npos || o->get_group().empty()) continue;
      text += ".TP\n.B " + roff(name) + roff(o->get_description());
    }
    if (!a.get_footer().empty()) text += ".PP\n.nf\n" + roff(a.get_footer()) + ".fi\n";
  });
  return text +
         ".SH EXIT STATUS\n0 done; 1 the work failed, with one line on stderr that says why; 2 "
         "wrong usage.\n"
         ".SH ENVIRONMENT\n.TP\n.B TRM_MODELS\nFolder of the weights that trm solve and trm serve "
         "take where none are named.\n"
         ".TP\n.B TRM_OPS\nreference: only plain MLX operations.\n"
         ".TP\n.B HF_ENDPOINT, HF_HOME, HF_TOKEN\nWhere data sets are downloaded from and to.\n";
}

}  // namespace

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  auto* cmd = app.add_subcommand("completion", "Print the completion for bash or zsh");
  cmd->add_option("shell", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  cmd->footer(
      "Examples:\n"
      "  source <(trm completion bash)                       # this shell only\n"
      "  trm completion zsh > ~/.zfunc/_trm                  # a folder of $fpath");
  cmd->callback([shell, &app] { fmt::print("{}", *shell == "bash" ? bash(app) : zsh(app)); });
  auto* page = app.add_subcommand("man", "Print the manual page");
  page->footer("Examples:\n  trm man > trm.1 && man ./trm.1");
  page->callback([&app] { fmt::print("{}", man(app)); });
}

}  // namespace trm::cli

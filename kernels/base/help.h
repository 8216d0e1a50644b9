// The command lines of both programs: what an option takes, as the help shows it, and what is wrong with a call.
// Templates, since CLI11 is for the mains alone.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "kernels/base/text.h"

namespace smepilot {

// The type of an option whose value has to lie in a range: of CLI11's "UINT in [1 - 16]", "1..16" where that is short
// enough to be worth its place, else "N" (whole numbers) or "X". A value outside is answered with the range anyway.
// Empty: it is not such a description.
inline std::string range_type(const std::string& description) {
  if (description == "POSITIVE" || description == "NONNEGATIVE") return "N";
  const size_t begin = description.find(" in ["), end = description.find(" - ");
  if (begin == std::string::npos || end == std::string::npos || description.back() != ']') return "";
  if (description.compare(0, begin, "FLOAT") == 0) return "X";
  constexpr double kFew = 256;
  const std::string low = description.substr(begin + 5, end - begin - 5),
                    high = description.substr(end + 3, description.size() - end - 4);
  return std::strtod(high.c_str(), nullptr) <= kFew ? low + ".." + high : "N";
}

// Number i of an option's checks; nullptr: it has fewer.
template <typename Option>
auto validator(Option& option, int i) -> decltype(option.get_validator(i)) {
  try {
    return option.get_validator(i);
  } catch (const std::exception&) {
    return nullptr;
  }
}

// Gives the options of `app` (CLI::App) and of its verbs that take a number such a type.
template <typename App>
void name_ranges(App& app) {
  for (auto* option : app.get_options()) {
    std::string type;
    for (int i = 0; type.empty(); ++i) {
      auto* const check = validator(*option, i);
      if (check == nullptr) break;
      type = range_type(check->get_description());
      if (!type.empty()) check->description("");
    }
    const std::string own = option->get_type_name();
    if (own != "UINT" && own != "INT" && own != "FLOAT") continue;
    if (type.empty()) type = own == "FLOAT" ? "X" : "N";
    option->type_name(option->get_positional() ? "" : type);
  }
  for (auto* verb : app.get_subcommands([](const App*) { return true; })) name_ranges(*verb);
}

template <typename App>
void add_long_options(const App& app, std::vector<std::string>& names) {
  for (const auto* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  for (const App* group : app.get_subcommands([](const App*) { return true; }))
    if (group->get_name().empty()) add_long_options(*group, names);
}

// Of a call of `program` that could not be parsed: the first word that is unknown, with those that are like it, or the
// verbs of which one is missing. "": it is something else, of which CLI11 has a message.
template <typename App>
std::string usage_problem(const App& program) {
  const App* app = &program;
  std::string path = program.get_name();
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().back();
    path += " " + app->get_name();
  }
  std::vector<std::string> verbs, options;
  for (const App* verb : app->get_subcommands([](const App*) { return true; }))
    if (!verb->get_name().empty()) verbs.push_back(verb->get_name());
  for (const App* a = app; a != nullptr; a = a->get_parent()) add_long_options(*a, options);
  for (const std::string& word : program.remaining(true)) {
    const bool option = word.size() > 1 && word[0] == '-';
    if (!option && verbs.empty()) continue;  // a value or one too many
    return std::string("no ") + (option ? "option" : "verb") + " '" + word + "'; " +
           suggest_names(word, option ? options : verbs);
  }
  if (verbs.empty()) return "";
  path += " needs one of its verbs: ";
  for (const std::string& verb : verbs) path += (&verb == verbs.data() ? "" : ", ") + verb;
  return path;
}

// Prints what is wrong with a call, if anything is (code is not 0); `message` is CLI11's.
template <typename App>
void print_usage_error(const App& program, int code, const std::string& message) {
  const std::string problem = code == 0 ? "" : usage_problem(program);
  std::fputs(
      problem.empty() ? message.c_str() : (wrap(problem, 80, 2) + "\nRun with --help for more information.\n").c_str(),
      stderr);
}

}  // namespace smepilot

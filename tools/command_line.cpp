#include "tools/command_line.h"

#include "runtime/base/mapped_file.h"
#include "tools/cli_description.h"
#include "tools/json.h"
#include "tools/json_file.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>

namespace rtai::tools {
namespace {

Result<std::string> text_of(const std::string& key, const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return one_line(value);
  return Error{ErrorCode::invalid_input,
               fmt::format("\"{}\": expected a text, a number, true, false or a list of texts and "
                           "numbers",
                           key)};
}

/// The command that the words name, or null.
const CLI::App* command_in(const CLI::App& app, const std::vector<std::string>& words) {
  const std::vector<const CLI::App*> commands =
      app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
  for (const std::string& word : words) {
    const auto found = std::ranges::find(commands, word, &CLI::App::get_name);
    if (found != commands.end()) return *found;
  }
  return nullptr;
}

std::vector<std::string> positionals_of(const CLI::App* command) {
  std::vector<std::string> names;
  if (command == nullptr) return names;
  for_each_option(*command, [&](const CLI::Option& option, const CLI::App&) {
    if (is_positional(option)) names.push_back(option.get_single_name());
  });
  return names;
}

/// True if `word` is a flag of `app` whose value is the next word.
bool takes_next(const CLI::App& app, const std::string& word) {
  bool takes = false;
  for_each_option(app, [&](const CLI::Option& option, const CLI::App&) {
    takes |=
        option.get_items_expected_max() > 0 && !is_positional(option) && option.check_name(word);
  });
  return takes;
}

/// How many of the words are arguments of the command that they name, and not flags nor their
/// values.
std::size_t count_arguments(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* command = command_in(app, words);
  if (command == nullptr) return 0;
  std::size_t count = 0;
  bool is_value = false;
  bool are_flags = true;
  for (const std::string& word : words) {
    const bool is_flag = are_flags && word.starts_with('-') && word != "-";
    if (!is_value && !is_flag) ++count;
    is_value = !is_value && is_flag && (takes_next(app, word) || takes_next(*command, word));
    are_flags &= word != "--";
  }
  return count - 1;  // the command itself
}

/// The words that say on a command line what `key` says in the file.
Result<std::vector<std::string>> words_of(const std::string& key,
                                          const nlohmann::json& value,
                                          bool is_positional) {
  const std::string flag = "--" + key;
  if (value.is_null() || value == false) return std::vector<std::string>{};
  if (value == true) return std::vector<std::string>{flag};
  std::vector<std::string> words;
  for (const nlohmann::json& one : value.is_array() ? value : nlohmann::json::array({value})) {
    RTAI_TRY(std::string text, text_of(key, one));
    words.push_back(is_positional ? std::move(text) : fmt::format("{}={}", flag, text));
  }
  return words;
}

/// People write these files, so // and /* */ are allowed.
Result<nlohmann::json> read_commented_json(const std::string& path) {
  RTAI_TRY(const MappedFile file, MappedFile::open(path));
  constexpr std::size_t kMostBytes = 1u << 20;
  if (file.bytes().size() > kMostBytes)
    return Error{ErrorCode::invalid_input, path + ": larger than 1 MiB"};
  RTAI_TRY(nlohmann::json document, parse_json(file.text(), /*has_comments=*/true).in(path));
  if (!document.is_object()) return invalid_input(path + ": expected a JSON object");
  return document;
}

struct SplitWords {
  std::string path;               // of the last --config
  std::vector<std::string> kept;  // the words without it
};

SplitWords split_config(const std::vector<std::string>& words) {
  SplitWords split;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].starts_with("--config=")) {
      split.path = words[i].substr(std::string_view("--config=").size());
    } else if (words[i] == "--config" && i + 1 < words.size()) {
      split.path = words[++i];
    } else {
      split.kept.push_back(words[i]);
    }
  }
  return split;
}

/// Where flags end: at "--", behind which all words are arguments.
std::vector<std::string>::const_iterator end_of_flags(const std::vector<std::string>& words) {
  return std::ranges::find(words, "--");
}

void add_words(std::vector<std::string>& words, const std::vector<std::string>& more) {
  words.insert(end_of_flags(words), more.begin(), more.end());
}

bool is_given(const std::vector<std::string>& words, const std::string& key) {
  return std::any_of(words.begin(), end_of_flags(words), [&](const std::string& word) {
    return word == "--" + key || word.starts_with("--" + key + "=") ||
           (key == "output" && word == "-o") || (key == "quiet" && word == "-q") ||
           (key == "verbose" && word == "-v");
  });
}

/// The option that `key` of a file names, with the part of `app` that has it.
struct NamedOption {
  const CLI::Option* option = nullptr;
  const CLI::App* part = nullptr;
};

NamedOption option_of(const CLI::App* app, const std::string& key) {
  NamedOption named;
  if (app == nullptr) return named;
  for_each_option(*app, [&](const CLI::Option& option, const CLI::App& part) {
    const auto& names = option.get_lnames();
    if (std::ranges::find(names, key) != names.end()) named = {&option, &part};
  });
  return named;
}

/// True if the words give a flag that cannot stand beside this one.
bool is_replaced(const NamedOption& named, const std::vector<std::string>& words) {
  if (named.option == nullptr) return false;
  const bool only_one = named.part->get_require_option_max() == 1;
  const std::set<CLI::Option*>& excluded = named.option->get_excludes();
  return std::ranges::any_of(named.part->get_options(), [&](const CLI::Option* other) {
    return other != named.option && !other->get_lnames().empty() &&
           (only_one || std::ranges::find(excluded, other) != excluded.end()) &&
           is_given(words, other->get_lnames().front());
  });
}

/// Insertions, deletions and changes of one character that make `b` of `a` (Levenshtein 1966).
std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

std::string suggestion(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
}

std::vector<std::string> names_of_commands(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

void add_keys(const CLI::App& app, std::vector<std::string>& keys) {
  for_each_option(app, [&](const CLI::Option& option, const CLI::App&) {
    keys.insert(keys.end(), option.get_lnames().begin(), option.get_lnames().end());
  });
}

/// A number where the flag takes one and the text is no more than that.
nlohmann::ordered_json value_of(const CLI::Option& option, const std::string& text) {
  const bool is_number = option.get_type_name().starts_with("INT") ||
                         option.get_type_name().starts_with("UINT") ||
                         option.get_type_name().starts_with("FLOAT");
  nlohmann::ordered_json value =
      nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  return is_number && value.is_number() ? value : nlohmann::ordered_json(text);
}

void add_given(const CLI::Option& option, nlohmann::ordered_json& flags) {
  if (option.count() == 0) return;
  const std::string name =
      is_positional(option) ? option.get_single_name() : option.get_lnames().front();
  if (name == "dump-config") return;
  if (option.get_items_expected_max() == 0) {
    flags[name] = option.as<bool>();
    return;
  }
  nlohmann::ordered_json values = nlohmann::ordered_json::array();
  for (const std::string& text : option.results())
    values.push_back(value_of(option, text));
  flags[name] = option.get_items_expected_max() > 1 ? values : values.back();
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  return best;
}

std::string environment_name(std::string_view flag) {
  std::string name = "RTAI_" + upper_case(flag);
  std::ranges::replace(name, '-', '_');
  return name;
}

std::vector<std::string> add_environment(const CLI::App& app, std::vector<std::string> words) {
  const auto add = [&](const CLI::Option& option, const CLI::App&) {
    for (const std::string& name : option.get_lnames()) {
      const char* value = std::getenv(environment_name(name).c_str());
      const bool is_set = value != nullptr && *value != '\0' && name != "help";
      if (is_set && !is_given(words, name)) add_words(words, {fmt::format("--{}={}", name, value)});
    }
  };
  const CLI::App* command = command_in(app, words);
  for_each_option(app, add);
  if (command != nullptr) for_each_option(*command, add);
  return words;
}

Result<std::vector<std::string>> expand_config(const CLI::App& app,
                                               const std::vector<std::string>& words) {
  const auto [path, kept] = split_config(words);
  if (path.empty()) return kept;
  RTAI_TRY(const nlohmann::json document, read_commented_json(path));
  const CLI::App* command = command_in(app, kept);
  const std::vector<std::string> positionals = positionals_of(command);
  const std::size_t arguments = count_arguments(app, kept);
  std::vector<std::string> expanded = kept;
  for (const auto& [key, value] : document.items()) {
    if (key == "$schema" || is_given(kept, key)) continue;  // the former is for editors
    // "model" is also one of "models".
    const auto positional = std::ranges::find_if(
        positionals, [&key = key](const auto& name) { return name == key || name == key + "s"; });
    const bool is_positional = positional != positionals.end();
    if (is_positional && static_cast<std::size_t>(positional - positionals.begin()) < arguments)
      continue;
    const NamedOption named = option_of(command, key);
    if (is_replaced(named, kept)) continue;
    const bool is_known =
        is_positional || named.option != nullptr || option_of(&app, key).option != nullptr;
    if (command != nullptr && !is_known) {
      std::vector<std::string> keys = positionals;
      add_keys(*command, keys);
      add_keys(app, keys);
      return invalid_input(fmt::format("{}: unknown key '{}'{}", path, key, suggestion(key, keys)));
    }
    RTAI_TRY(const std::vector<std::string> more, words_of(key, value, is_positional).in(path));
    add_words(expanded, more);
  }
  return expanded;
}

std::string origin_of(const std::string& message,
                      const std::vector<std::string>& typed,
                      const std::vector<std::string>& with_environment) {
  if (!message.starts_with("--")) return "";
  const std::string key = message.substr(2, message.find_first_of(": ") - 2);
  if (is_given(typed, key)) return "";
  if (is_given(with_environment, key)) return fmt::format(" (from {})", environment_name(key));
  const std::string path = config_path(with_environment);
  return path.empty() ? "" : fmt::format(" (from {})", path);
}

std::string config_path(const std::vector<std::string>& words) {
  return split_config(words).path;
}

nlohmann::ordered_json given_flags(const CLI::App& app) {
  nlohmann::ordered_json flags = nlohmann::ordered_json::object();
  const auto add = [&](const CLI::Option& option, const CLI::App&) { add_given(option, flags); };
  for_each_option(app, add);
  for (const CLI::App* command : app.get_subcommands())
    for_each_option(*command, add);
  return flags;
}

std::string explain(const CLI::App& app,
                    const CLI::ParseError& error,
                    const std::vector<std::string>& words) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (chosen.empty()) {
    const auto command =
        std::ranges::find_if(words, [](const std::string& word) { return !word.starts_with('-'); });
    if (command == words.end()) return "no command was given (see `rtai --help`)";
    return fmt::format("unknown command '{}'{} (see `rtai --help`)", *command,
                       suggestion(*command, names_of_commands(app)));
  }
  const std::string help = fmt::format(" (see `rtai {} --help`)", chosen.front()->get_name());
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    std::vector<std::string> flags;
    add_keys(*chosen.front(), flags);
    add_keys(app, flags);
    for (std::string& flag : flags)
      flag.insert(0, "--");
    const std::vector<std::string> extra = app.remaining(true);
    const std::string word = extra.empty() ? "" : extra.front().substr(0, extra.front().find('='));
    if (word.starts_with('-'))
      return fmt::format("unknown flag '{}'{}{}", word, suggestion(word, flags), help);
    return fmt::format("unexpected '{}'{}", word, help);
  }
  std::string message = error.what();
  std::ranges::replace(message, '\n', ' ');
  return message + help;
}

}  // namespace rtai::tools

// What happens to the words of the command line before and after CLI11 reads them.
#pragma once

#include "runtime/base/result.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace rtai::tools {

/// "RTAI_BATCH_TOKENS", the variable that gives --batch-tokens.
std::string environment_name(std::string_view flag);

/// Adds the flags of `app` and of the command in `words` that the environment gives and the words
/// do not.
std::vector<std::string> add_environment(const CLI::App& app, std::vector<std::string> words);

/// Replaces `--config FILE.json` by the flags in that file: {"calib": "texts.txt", "quiet": true,
/// "fail-if": ["p99_ms>5"], "model": "folder"}. Keys are flags without their dashes, or names of
/// positional arguments; what the words give wins over the file's. The file may hold //
/// comments, and a "$schema" for editors.
///
/// Errors: not_found, io; invalid_input for what is not an object of texts, numbers, switches and
/// lists of them.
Result<std::vector<std::string>> expand_config(const CLI::App& app,
                                               const std::vector<std::string>& words);

/// The file of the last --config among the words, or an empty text.
std::string config_path(const std::vector<std::string>& words);

/// " (from RTAI_THREADS)", " (from rtai.json)": who gave the flag that a message begins with, where
/// it was not typed.
std::string origin_of(const std::string& message,
                      const std::vector<std::string>& typed,
                      const std::vector<std::string>& with_environment);

/// What was given to the command that `app` has parsed, as a file for --config.
nlohmann::ordered_json given_flags(const CLI::App& app);

/// One line about words that CLI11 could not read, with the nearest name it knows.
std::string explain(const CLI::App& app,
                    const CLI::ParseError& error,
                    const std::vector<std::string>& words);

/// The candidate that `word` was probably meant to be, or an empty text if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace rtai::tools

// What happens to the words of the command line before and after CLI11 reads them.
#pragma once

#include "runtime/base/result.h"

#include <string>
#include <vector>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace rtai::tools {

/// Replaces `--config FILE.json` by the flags in that file: {"calib": "texts.txt", "quiet": true,
/// "fail-if": ["p99_ms>5"], "model": "folder"}. Keys are flags without their dashes, `model` and
/// `text` the words without one; a flag on the command line wins over the file's. The file may hold
/// // comments, and a "$schema" for editors.
///
/// Errors: not_found, io; invalid_input for what is not an object of texts, numbers, switches and
/// lists of them.
Result<std::vector<std::string>> expand_config(const std::vector<std::string>& words);

/// One line about words that CLI11 could not read, with the nearest name it knows.
std::string explain(const CLI::App& app,
                    const CLI::ParseError& error,
                    const std::vector<std::string>& words);

/// The candidate that `word` was probably meant to be, or an empty text if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace rtai::tools

// Texts for calibration, evaluation and running: .txt and .jsonl files.
#pragma once

#include "libopt/pass/evaluator.h"
#include "runtime/base/result.h"
#include "tools/sample.h"

#include <filesystem>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// Reads a file by its ending. Empty lines are left out.
///
/// Errors: not_found, io; invalid_input with the line number and what was expected, or if there is
/// no sample at all.
Result<std::vector<Sample>> read_samples(const std::filesystem::path& path);

/// Parses one .jsonl line.
Result<Sample> parse_sample(std::string_view line);

/// The tokens of many samples, end to end.
Result<TokenBatch> encode_all(const std::vector<Sample>& samples, const text::Tokenizer* tokenizer);

}  // namespace rtai::tools

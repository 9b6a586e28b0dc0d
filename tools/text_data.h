// Texts for calibration, evaluation and running: .txt, .jsonl, .csv and .tsv files.
#pragma once

#include "libopt/pass/evaluator.h"
#include "runtime/base/result.h"
#include "tools/sample.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// Reads a file by its ending. Empty lines are left out. The first line of a .csv or .tsv file
/// names its columns: "text" (or "sentence"), or "text_a" and "text_b" ("sentence1", "sentence2")
/// with or without "score"; with or without "label". Others are not read.
///
/// Errors: not_found, io; invalid_input with the line number and what was expected, or if there is
/// no sample at all.
Result<std::vector<Sample>> read_samples(const std::filesystem::path& path);

/// One of several parts of a list, of which no two differ by more than one in size. The parts are
/// blocks, so that one after the other they are the list.
struct Shard {
  std::size_t number = 1;  // from 1 on
  std::size_t count = 1;

  /// Where the part begins in a list of `size`; where it ends is where the next one begins.
  std::size_t begin(std::size_t size) const { return start_of(number - 1, size); }
  std::size_t end(std::size_t size) const { return start_of(number, size); }

 private:
  std::size_t start_of(std::size_t part, std::size_t size) const {
    return size / count * part + size % count * part / count;
  }
};

/// Reads "2/8", the second of eight.
/// Errors: invalid_input unless 1 <= number <= count <= 1,000,000.
Result<Shard> parse_shard(std::string_view words);

/// Parses one .jsonl line, or what it says.
Result<Sample> parse_sample(std::string_view line);
Result<Sample> parse_sample(const nlohmann::json& object);

/// What a model reads of a sample, as parse_sample() takes it.
nlohmann::ordered_json input_json(const Sample& sample);

/// Writes a .jsonl file that read_samples() reads as these samples, labels and all.
///
/// Errors: io.
Result<void> write_samples(const std::vector<Sample>& samples, const std::filesystem::path& path);

/// The tokens of many samples, end to end.
Result<TokenBatch> encode_all(const std::vector<Sample>& samples, const text::Tokenizer* tokenizer);

}  // namespace rtai::tools

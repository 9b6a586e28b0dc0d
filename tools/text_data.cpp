#include "tools/text_data.h"

#include "runtime/base/atomic_write.h"
#include "runtime/base/mapped_file.h"
#include "runtime/text/utf8.h"
#include "tools/csv.h"
#include "tools/json.h"
#include "tools/json_file.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace rtai::tools {
namespace {

Result<std::string> get_text(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) {
    return invalid_input(fmt::format("\"{}\": expected a string", key));
  }
  return found->get<std::string>();
}

Result<std::vector<std::string>> get_texts(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) {
    return invalid_input(fmt::format("\"{}\": expected a list of strings", key));
  }
  std::vector<std::string> texts;
  for (const nlohmann::json& item : *found) {
    if (!item.is_string())
      return invalid_input(fmt::format("\"{}\": expected a list of strings", key));
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

Result<std::vector<std::int32_t>> get_numbers(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  const Error error = invalid_input(fmt::format("\"{}\": expected a list of whole numbers", key));
  if (found == object.end() || !found->is_array()) return error;
  std::vector<std::int32_t> numbers;
  for (const nlohmann::json& item : *found) {
    if (!item.is_number_integer()) return error;
    const auto wide = item.get<std::int64_t>();
    if (wide < std::numeric_limits<std::int32_t>::min() ||
        wide > std::numeric_limits<std::int32_t>::max()) {
      return invalid_input(fmt::format("\"{}\": {} is not a token", key, wide));
    }
    numbers.push_back(static_cast<std::int32_t>(wide));
  }
  return numbers;
}

/// {"input_ids", "attention_mask", "token_type_ids"}: what the mask leaves out is dropped.
Result<Sample> ids_sample(const nlohmann::json& object) {
  Sample sample;
  RTAI_TRY(const std::vector<std::int32_t> ids, get_numbers(object, "input_ids"));
  std::vector<std::int32_t> mask(ids.size(), 1);
  std::vector<std::int32_t> segments(ids.size(), 0);
  if (object.contains("attention_mask")) {
    RTAI_TRY(mask, get_numbers(object, "attention_mask"));
  }
  if (object.contains("token_type_ids")) {
    RTAI_TRY(segments, get_numbers(object, "token_type_ids"));
  }
  if (mask.size() != ids.size() || segments.size() != ids.size()) {
    return invalid_input("input_ids, attention_mask and token_type_ids differ in length");
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (mask[i] == 0) continue;
    sample.ids.push_back(ids[i]);
    sample.segments.push_back(segments[i]);
  }
  if (sample.ids.empty()) return invalid_input("no tokens");
  return sample;
}

Result<Sample> words_sample(const nlohmann::json& object) {
  Sample sample;
  RTAI_TRY(sample.words, get_texts(object, "tokens"));
  if (object.contains("tags")) {
    RTAI_TRY(sample.tags, get_texts(object, "tags"));
    if (sample.tags.size() != sample.words.size()) {
      return invalid_input(
          fmt::format("{} tokens but {} tags", sample.words.size(), sample.tags.size()));
    }
  }
  sample.text = fmt::format("{}", fmt::join(sample.words, " "));
  return sample;
}

Result<Sample> pair_sample(const nlohmann::json& object) {
  Sample sample;
  RTAI_TRY(sample.text, get_text(object, "text_a"));
  RTAI_TRY(sample.text_b, get_text(object, "text_b"));
  if (const auto score = object.find("score"); score != object.end()) {
    if (!score->is_number()) return invalid_input("\"score\": expected a number");
    sample.score = score->get<double>();
  }
  if (object.contains("label")) {
    RTAI_TRY(sample.label, get_text(object, "label"));
  }
  return sample;
}

Result<Sample> question_sample(const nlohmann::json& object) {
  Sample sample;
  RTAI_TRY(sample.question, get_text(object, "question"));
  RTAI_TRY(sample.text, get_text(object, "context"));
  return sample;
}

Result<Sample> text_sample(const nlohmann::json& object) {
  Sample sample;
  RTAI_TRY(sample.text, get_text(object, "text"));
  if (const auto label = object.find("label"); label != object.end()) {
    // Some data sets number their classes.
    if (label->is_number_integer())
      sample.label = std::to_string(label->get<std::int64_t>());
    else {
      RTAI_TRY(sample.label, get_text(object, "label"));
    }
  }
  return sample;
}

}  // namespace

Result<Shard> parse_shard(std::string_view words) {
  constexpr std::size_t kMostShards = 1'000'000;
  Shard shard;
  const char* const end = words.data() + words.size();
  const auto [slash, number_error] = std::from_chars(words.data(), end, shard.number);
  if (number_error == std::errc() && slash != end && *slash == '/') {
    const auto [last, count_error] = std::from_chars(slash + 1, end, shard.count);
    const bool fits =
        1 <= shard.number && shard.number <= shard.count && shard.count <= kMostShards;
    if (count_error == std::errc() && last == end && fits) return shard;
  }
  return invalid_input(
      fmt::format("'{}': expected I/N, 1/N being the first of N shards and N/N the last", words));
}

Result<Sample> parse_sample(std::string_view line) {
  RTAI_TRY(const nlohmann::json object, parse_json(line));
  return parse_sample(object);
}

Result<Sample> parse_sample(const nlohmann::json& object) {
  if (!object.is_object()) return invalid_input("expected a JSON object");
  if (object.contains("input_ids")) return ids_sample(object);
  if (object.contains("tokens")) return words_sample(object);
  if (object.contains("text_a")) return pair_sample(object);
  if (object.contains("question")) return question_sample(object);
  if (object.contains("text")) return text_sample(object);
  return invalid_input(
      "expected one of \"text\", \"tokens\", \"text_a\", \"question\" or \"input_ids\"");
}

namespace {

enum class LineForm : std::uint8_t { plain, json };

Result<std::vector<Sample>> samples_of_lines(std::string_view content, LineForm form) {
  std::vector<Sample> samples;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < content.size();) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    std::string_view line = content.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    if (form == LineForm::plain) {
      samples.emplace_back(std::string(line));
      continue;
    }
    RTAI_TRY(Sample sample, parse_sample(line).in(fmt::format("line {}", number)));
    samples.push_back(std::move(sample));
  }
  return samples;
}

/// Where a file is in another encoding, a tokenizer would read its letters as unknown ones.
Result<void> expect_utf8(std::string_view content) {
  for (std::size_t line = 1, begin = 0; begin < content.size(); ++line) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    if (!text::is_valid_utf8(content.substr(begin, end - begin)))
      return invalid_input(fmt::format("line {}: expected a text in UTF-8", line));
    begin = end + 1;
  }
  return {};
}

/// Where the records of a table have what makes a sample.
struct SampleColumns {
  std::size_t count = 0;  // of all columns
  std::size_t text = 0;
  std::optional<std::size_t> text_b, label, score;
};

Result<SampleColumns> columns_of(const CsvRecord& header) {
  const auto column = [&](std::string_view name,
                          std::string_view other) -> std::optional<std::size_t> {
    const auto found = std::ranges::find_if(
        header.fields, [&](const std::string& field) { return field == name || field == other; });
    if (found == header.fields.end()) return std::nullopt;
    return static_cast<std::size_t>(found - header.fields.begin());
  };
  const std::optional<std::size_t> text = column("text", "sentence");
  const std::optional<std::size_t> text_a = column("text_a", "sentence1");
  const std::optional<std::size_t> text_b = column("text_b", "sentence2");
  if (!text && !(text_a && text_b)) {
    return invalid_input(
        fmt::format("line {}: expected a header with a column \"text\", or \"text_a\" and "
                    "\"text_b\"",
                    header.line));
  }
  SampleColumns columns;
  columns.count = header.fields.size();
  columns.text = text ? *text : *text_a;
  columns.label = column("label", "label");
  if (!text) {
    columns.text_b = text_b;
    columns.score = column("score", "score");
  }
  return columns;
}

Result<double> score_of(const std::string& cell) {
  double number = 0;
  const char* const end = cell.data() + cell.size();
  const auto [stop, status] = std::from_chars(cell.data(), end, number);
  if (status != std::errc{} || stop != end || !std::isfinite(number))
    return invalid_input("\"score\": expected a number");
  return number;
}

Result<Sample> sample_of_record(CsvRecord& record, const SampleColumns& columns) {
  if (record.fields.size() != columns.count) {
    return invalid_input(fmt::format("expected {} columns as in the header, found {}",
                                     columns.count, record.fields.size()));
  }
  Sample sample(std::move(record.fields[columns.text]));
  if (columns.text_b) sample.text_b = std::move(record.fields[*columns.text_b]);
  if (columns.label && !record.fields[*columns.label].empty())
    sample.label = std::move(record.fields[*columns.label]);
  if (columns.score) {
    RTAI_TRY(sample.score, score_of(record.fields[*columns.score]));
  }
  return sample;
}

Result<std::vector<Sample>> samples_of_table(std::string_view content, CsvFormat format) {
  CsvReader reader(content, format);
  RTAI_TRY(const std::optional<CsvRecord> header, reader.next());
  std::vector<Sample> samples;
  if (!header) return samples;
  RTAI_TRY(const SampleColumns columns, columns_of(*header));
  while (true) {
    RTAI_TRY(std::optional<CsvRecord> record, reader.next());
    if (!record) return samples;
    RTAI_TRY(Sample sample,
             sample_of_record(*record, columns).in(fmt::format("line {}", record->line)));
    samples.push_back(std::move(sample));
  }
}

}  // namespace

Result<std::vector<Sample>> read_samples(const std::filesystem::path& path) {
  const std::string ending = path.extension().string();
  const bool is_table = ending == ".csv" || ending == ".tsv";
  RTAI_TRY(const MappedFile file, MappedFile::open(path));
  if (!is_table && ending != ".txt" && ending != ".jsonl") {
    return Error{ErrorCode::invalid_input,
                 fmt::format("{}: expected a .txt, .jsonl, .csv or .tsv file", path.string())};
  }
  RTAI_TRY_VOID(expect_utf8(file.text()).in(path.string()));
  Result<std::vector<Sample>> samples =
      is_table ? samples_of_table(file.text(), ending == ".csv" ? CsvFormat::csv : CsvFormat::tsv)
               : samples_of_lines(file.text(), ending == ".txt" ? LineForm::plain : LineForm::json);
  if (samples && samples->empty()) samples = invalid_input("no text in this file");
  return std::move(samples).in(path.string());
}

nlohmann::ordered_json input_json(const Sample& sample) {
  if (!sample.ids.empty()) return {{"input_ids", sample.ids}, {"token_type_ids", sample.segments}};
  if (!sample.words.empty()) return {{"tokens", sample.words}};
  if (sample.text_b) return {{"text_a", sample.text}, {"text_b", *sample.text_b}};
  if (sample.question) return {{"question", *sample.question}, {"context", sample.text}};
  return {{"text", sample.text}};
}

Result<void> write_samples(const std::vector<Sample>& samples, const std::filesystem::path& path) {
  std::string lines;
  for (const Sample& sample : samples) {
    nlohmann::ordered_json line = input_json(sample);
    if (sample.label) line["label"] = *sample.label;
    if (!sample.tags.empty()) line["tags"] = sample.tags;
    if (sample.score) line["score"] = *sample.score;
    lines += one_line(line) + "\n";
  }
  return write_file_atomically(path, lines);
}

Result<TokenBatch> encode_all(const std::vector<Sample>& samples,
                              const text::Tokenizer* tokenizer) {
  TokenBatch batch;
  for (const Sample& sample : samples) {
    RTAI_TRY(const text::Encoding encoding, encode(sample, tokenizer));
    batch.append(encoding.ids, encoding.segments);
  }
  return batch;
}

}  // namespace rtai::tools

// JSON files of others, read with every type checked: an error says which file and key.
#pragma once

#include "runtime/base/result.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// A value with its place in the document, such as "model.vocab". Absent and null are the same.
/// Points into a JsonFile, which outlives it.
///
/// Errors, of all that return a Result: invalid_input, with place, expected and found.
class JsonValue {
 public:
  JsonValue(const nlohmann::json* value, std::string place)
      : value_(value), place_(std::move(place)) {}

  bool exists() const { return value_ != nullptr && !value_->is_null(); }
  bool is_string() const { return exists() && value_->is_string(); }
  /// Only if it exists.
  const nlohmann::json& raw() const { return *value_; }
  const std::string& place() const { return place_; }

  /// The member of an object; absent in anything else.
  JsonValue operator[](const std::string& key) const;

  Result<void> expect_object() const;
  Result<std::vector<JsonValue>> elements() const;
  /// The elements of an array or the values of an object's members.
  Result<std::vector<JsonValue>> elements_or_members() const;
  Result<bool> boolean() const;
  Result<bool> boolean_or(bool absent) const;
  Result<std::string> string() const;
  Result<std::string> string_or(std::string_view absent) const;
  /// An integer from 0 up; what is too large for 32 bits counts as the largest.
  Result<std::int32_t> count() const;

  /// "place: expected ..., found ..."
  Error wrong(std::string_view expected) const;

 private:
  std::vector<JsonValue> children() const;

  const nlohmann::json* value_;
  std::string place_;
};

struct JsonFile {
  nlohmann::json document;  // an object
  std::string name;         // its path, for messages

  JsonValue root() const { return {&document, ""}; }
};

/// A JSON text of somebody else. No exception, bounded memory.
///
/// Errors: invalid_input if it is not JSON, larger than 256 MiB, nested deeper than 64, of more
/// than
///         4,194,304 values, or would take more than 8 times its size and 160 MiB.
Result<nlohmann::json> parse_json(std::string_view text, bool has_comments = false);

/// Errors: not_found; io; invalid_input as parse_json, or if it is not an object.
Result<JsonFile> read_json(const std::filesystem::path& path);

/// An empty object if there is no such file.
Result<JsonFile> read_json_if_there(const std::filesystem::path& path);

}  // namespace rtai::tools

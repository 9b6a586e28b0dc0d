#include "tools/json_file.h"

#include "runtime/base/mapped_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace rtai::tools {
namespace {

using nlohmann::json;

// Before parsing, since the parsed form takes many times the memory of the text: 2 bytes of an
// empty object become 100.
Result<void> check_extent(std::string_view text) {
  constexpr std::size_t kMaxBytes = 256u << 20;
  constexpr std::size_t kMaxValues = 1u << 22;  // the largest vocabularies have a million pieces
  constexpr int kMaxDepth = 64;
  constexpr std::size_t kValueBytes = 48;   // in a list that grows by doubling
  constexpr std::size_t kObjectBytes = 64;  // an empty object or list
  constexpr std::size_t kMemberBytes = 64;  // the node of an object's tree
  constexpr std::size_t kStringBytes = 48;
  constexpr std::size_t kSpareBytes = 160u << 20;
  if (text.size() > kMaxBytes) return invalid_input("larger than 256 MiB");
  const std::size_t most_bytes = 8 * text.size() + kSpareBytes;
  std::size_t values = 0;
  std::size_t bytes = 0;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      in_string = !in_string;
      bytes += in_string ? kStringBytes : 0;
    }
    if (in_string) {
      i += c == '\\' ? 1 : 0;
      continue;
    }
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    const bool opens = c == '[' || c == '{';
    values += opens || c == ',' ? 1 : 0;
    bytes += opens || c == ',' ? kValueBytes : 0;
    bytes += opens ? kObjectBytes : c == ':' ? kMemberBytes : 0;
    if (depth > kMaxDepth) return invalid_input(fmt::format("nested deeper than {}", kMaxDepth));
    if (values > kMaxValues) return invalid_input(fmt::format("more than {} values", kMaxValues));
    if (bytes > most_bytes)
      return invalid_input(
          fmt::format("more than {} bytes of memory for a text of this size", most_bytes));
  }
  return {};
}

/// "line 3, column 7 is wrong", of the byte with this number from 1 on.
std::string place_in(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, std::max<std::size_t>(byte, 1) - 1);
  const std::size_t begin = before.rfind('\n') + 1;  // 0 where there is none
  const std::string column = fmt::format("column {} is wrong", before.size() - begin + 1);
  if (text.find('\n') == std::string_view::npos) return column;
  return fmt::format("line {}, {}", 1 + std::ranges::count(before, '\n'), column);
}

}  // namespace

JsonValue JsonValue::operator[](const std::string& key) const {
  const std::string place = place_.empty() ? key : place_ + "." + key;
  if (!exists() || !value_->is_object()) return {nullptr, place};
  const auto found = value_->find(key);
  return {found == value_->end() ? nullptr : &*found, place};
}

Result<void> JsonValue::expect_object() const {
  if (!exists() || !value_->is_object()) return wrong("an object");
  return {};
}

Result<std::vector<JsonValue>> JsonValue::elements() const {
  if (!exists() || !value_->is_array()) return wrong("an array");
  return children();
}

Result<std::vector<JsonValue>> JsonValue::elements_or_members() const {
  if (!exists() || !value_->is_structured()) return wrong("an array");
  return children();
}

Result<bool> JsonValue::boolean() const {
  if (!exists() || !value_->is_boolean()) return wrong("true or false");
  return value_->get<bool>();
}

Result<bool> JsonValue::boolean_or(bool absent) const {
  return exists() ? boolean() : absent;
}

Result<std::string> JsonValue::string() const {
  if (!is_string()) return wrong("a string");
  return value_->get<std::string>();
}

Result<std::string> JsonValue::string_or(std::string_view absent) const {
  return exists() ? string() : std::string(absent);
}

Result<std::int32_t> JsonValue::count() const {
  if (!exists() || !value_->is_number_unsigned()) return wrong("an integer from 0 up");
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::min(value_->get<std::uint64_t>(), kLargest));
}

Error JsonValue::wrong(std::string_view expected) const {
  const std::string_view found = exists() ? value_->type_name() : "nothing";
  return invalid_input(fmt::format("{}: expected {}, found {}", place_, expected, found));
}

std::vector<JsonValue> JsonValue::children() const {
  std::vector<JsonValue> children;
  for (const json& child : *value_) {
    children.emplace_back(&child, fmt::format("{}[{}]", place_, children.size()));
  }
  return children;
}

Result<json> parse_json(std::string_view text, bool has_comments) {
  RTAI_TRY_VOID(check_extent(text));
  try {
    return json::parse(text, nullptr, /*allow_exceptions=*/true, has_comments);
  } catch (const json::parse_error& error) {
    return invalid_input("expected JSON; " + place_in(text, error.byte));
  } catch (const json::exception&) {  // a number beyond all bounds
    return invalid_input("expected JSON");
  }
}

Result<JsonFile> read_json(const std::filesystem::path& path) {
  RTAI_TRY(const MappedFile file, MappedFile::open(path));
  RTAI_TRY(json document, parse_json(file.text()).in(path.string()));
  if (!document.is_object()) return invalid_input("expected a JSON object").in(path.string());
  return JsonFile{std::move(document), path.string()};
}

Result<JsonFile> read_json_if_there(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) return read_json(path);
  return JsonFile{json::object(), path.string()};
}

}  // namespace rtai::tools

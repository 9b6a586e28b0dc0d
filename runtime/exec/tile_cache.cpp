#include "runtime/exec/tile_cache.h"

#include "runtime/base/atomic_write.h"
#include "runtime/base/digest.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>

namespace rtai::exec {
namespace {

namespace fs = std::filesystem;

// Whoever changes what a line holds changes this one.
constexpr std::string_view kFirstLine =
    "rtai tiles 1: function adds quantizes head_dim rows columns k tile";
// More than kMostShapes of the longest lines.
constexpr std::uintmax_t kMostBytes = std::uintmax_t{1} << 19;

/// All that decides which tiles there are and how fast they are, as far as it can be known.
std::string identity(const cuda::DeviceInfo& device, std::string_view kernel) {
  std::string text(kFirstLine);
  const auto add = [&text](std::string_view value) { text.append("\n").append(value); };
  const auto add_numbers = [&](auto... numbers) { (add(std::to_string(numbers)), ...); };
  add(device.name);
  add(device.driver);
  // Parts of a GPU may have its name.
  add_numbers(device.capability, device.multiprocessors, device.shared_bytes_per_multiprocessor);
  add(kernel);
  for (const cuda::LinearTile tile : cuda::linear_tiles(device.capability)) {
    const cuda::TileShape shape = cuda::tile_shape(tile);
    add(cuda::tile_name(tile));
    add_numbers(shape.rows, shape.columns, shape.threads, shape.stages, shape.blocks, shape.worth,
                int{shape.stays});
  }
  return text;
}

/// What a name of a file may hold of `text`.
std::string file_name_part(std::string_view text) {
  constexpr std::size_t kLongest = 64;
  std::string part(text.substr(0, kLongest));
  std::ranges::replace_if(
      part,
      [](char c) {
        return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '.');
      },
      '_');
  return part;
}

/// Empty if there is no such file or it is too large. Not mapped: a mapped file that somebody cuts
/// short ends the program.
std::string read_text(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return {};  // a pipe would be waited for
  const std::uintmax_t size = fs::file_size(path, error);
  if (error || size > kMostBytes) return {};
  std::string text(static_cast<std::size_t>(size), '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), std::ssize(text));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

/// Takes what is before `end` from `text`, and `end`; all of it if there is no `end`.
std::string_view take_until(char end, std::string_view& text) {
  const std::size_t size = std::min(text.find(end), text.size());
  const std::string_view taken = text.substr(0, size);
  text.remove_prefix(std::min(size + 1, text.size()));
  return taken;
}

std::optional<int> take_number(std::string_view& line) {
  const std::string_view word = take_until(' ', line);
  int number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size() || number < 0) return std::nullopt;
  return number;
}

std::optional<bool> take_flag(std::string_view& line) {
  const std::optional<int> number = take_number(line);
  if (!number || *number > 1) return std::nullopt;
  return *number == 1;
}

std::optional<Function> take_function(std::string_view& line) {
  const std::string_view word = take_until(' ', line);
  for (int i = 0; i < kFunctionCount; ++i) {
    if (function_name(static_cast<Function>(i)) == word) return static_cast<Function>(i);
  }
  return std::nullopt;
}

std::optional<FoundTiles::value_type> parse_line(std::string_view line,
                                                 std::span<const cuda::LinearTile> tiles) {
  const auto function = take_function(line);
  const auto adds = take_flag(line);
  const auto quantizes = take_flag(line);
  const auto head_dim = take_number(line);
  const auto rows = take_number(line);
  const auto columns = take_number(line);
  const auto k = take_number(line);
  const auto tile = std::ranges::find(tiles, line, cuda::tile_name);
  if (!function || !adds || !quantizes || !head_dim || !rows || !columns || !k ||
      tile == tiles.end())
    return std::nullopt;
  return FoundTiles::value_type{{.function = *function,
                                 .adds = *adds,
                                 .quantizes = *quantizes,
                                 .head_dim = *head_dim,
                                 .rows = *rows,
                                 .columns = *columns,
                                 .k = *k},
                                *tile};
}

std::string line_of(const LayerShape& shape, cuda::LinearTile tile) {
  std::string line(function_name(shape.function));
  for (const int number :
       {int{shape.adds}, int{shape.quantizes}, shape.head_dim, shape.rows, shape.columns, shape.k})
    line.append(" ").append(std::to_string(number));
  return line.append(" ").append(cuda::tile_name(tile)).append("\n");
}

/// With those above it that are missing; for the user alone, as the XDG Base Directory
/// Specification has it.
void make_folder(const fs::path& folder) {
  fs::path made;
  for (const fs::path& part : folder) {
    made /= part;
    ::mkdir(made.c_str(), 0700);  // fails where it is there already
  }
}

}  // namespace

TileCache::TileCache(const fs::path& folder,
                     const cuda::DeviceInfo& device,
                     std::string_view kernel)
    : tiles_(cuda::linear_tiles(device.capability)) {
  if (folder.empty()) return;
  constexpr std::size_t kDigits = 16;
  const std::string text = identity(device, kernel);
  const std::string digest = to_hex(sha256(std::as_bytes(std::span(text)))).substr(0, kDigits);
  path_ = folder / ("tiles-" + file_name_part(device.name) + "-" + file_name_part(device.driver) +
                    "-" + digest + ".txt");
}

FoundTiles TileCache::read() const {
  FoundTiles found;
  if (path_.empty()) return found;
  const std::string text = read_text(path_);
  std::string_view rest = text;
  if (take_until('\n', rest) != kFirstLine) return found;
  while (rest.find('\n') != rest.npos && found.size() < kMostShapes) {  // else it was cut
    if (const auto line = parse_line(take_until('\n', rest), tiles_)) found.insert(*line);
  }
  return found;
}

void TileCache::add(const FoundTiles& found) const {
  if (path_.empty() || found.empty()) return;
  std::error_code ignored;
  // What is written to a pipe or a device is not kept, and may wait for ever.
  if (fs::exists(path_, ignored) && !fs::is_regular_file(path_, ignored)) return;
  FoundTiles all;
  for (const FoundTiles& tiles : {found, read()}) {
    for (const auto& [shape, tile] : tiles) {
      if (all.size() < kMostShapes) all.emplace(shape, tile);
    }
  }
  std::string text = std::string(kFirstLine) + "\n";
  for (const auto& [shape, tile] : all)
    text += line_of(shape, tile);
  make_folder(path_.parent_path());
  (void)write_file_atomically(path_, text);  // it is a cache
}

fs::path user_cache_folder() {
  // Null in a program that has rights its user has not.
  if (const char* chosen = ::secure_getenv("RTAI_CACHE_DIR")) return chosen;
  const char* caches = ::secure_getenv("XDG_CACHE_HOME");
  if (caches != nullptr && fs::path(caches).is_absolute()) return fs::path(caches) / "rtai";
  const char* home = ::secure_getenv("HOME");
  if (home != nullptr && fs::path(home).is_absolute()) return fs::path(home) / ".cache" / "rtai";
  return {};
}

}  // namespace rtai::exec

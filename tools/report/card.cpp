#include "tools/report/card.h"

#include "runtime/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

using Count = std::pair<std::string, Index>;

std::vector<Count> by_frequency(const Tally& tally) {
  std::vector<Count> counts(tally.begin(), tally.end());
  std::ranges::stable_sort(counts, std::ranges::greater{}, &Count::second);
  return counts;
}

}  // namespace

void Card::add(std::string_view key, std::string_view value) {
  std::string line = fmt::format("  {:<12} {}", key, value);
  line.erase(line.find_last_not_of(' ') + 1);
  text_ += line + "\n";
}

void Card::add_list(std::string_view key, std::span<const std::string> items, std::size_t most) {
  constexpr std::size_t kLineCharacters = 85;
  const auto first = items.first(std::min(items.size(), most));
  std::vector<std::string> shown(first.begin(), first.end());
  if (items.size() > most) shown.push_back(fmt::format("and {} more", items.size() - most));
  std::string line;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const std::string item = shown[i] + (i + 1 < shown.size() ? ", " : "");
    if (!line.empty() && text::count_characters(line + item) > kLineCharacters) {
      add(key, line);
      key = "";
      line.clear();
    }
    line += item;
  }
  add(key, line);
}

Json tally_json(const Tally& tally) {
  Json json = Json::object();
  for (const auto& [kind, count] : by_frequency(tally))
    json[kind] = count;
  return json;
}

std::vector<std::string> tally_items(const Tally& tally) {
  std::vector<std::string> items;
  for (const auto& [kind, count] : by_frequency(tally))
    items.push_back(fmt::format("{} {}", kind, count));
  return items;
}

Index tally_total(const Tally& tally) {
  Index sum = 0;
  for (const auto& [kind, count] : tally)
    sum += count;
  return sum;
}

}  // namespace rtai::tools

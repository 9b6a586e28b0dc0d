// The facts of a model, a line each, and how often something occurs in it.
#pragma once

#include "runtime/base/dtype.h"
#include "tools/json.h"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// Lines like "  task         token-classification".
class Card {
 public:
  void add(std::string_view key, std::string_view value);
  /// "Add 12, Mul 9, ..." on as many lines as it takes; beyond `most` items are only counted.
  void add_list(std::string_view key, std::span<const std::string> items, std::size_t most = 60);

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// How often each kind occurs.
using Tally = std::map<std::string, Index>;

/// {"MatMul": 12, "Add": 8}: the most frequent first, else in alphabetical order.
Json tally_json(const Tally& tally);

/// "MatMul 12", "Add 8", in the same order.
std::vector<std::string> tally_items(const Tally& tally);

/// All of a tally.
Index tally_total(const Tally& tally);

}  // namespace rtai::tools

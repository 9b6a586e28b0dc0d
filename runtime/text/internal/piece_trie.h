// The pieces of a vocabulary as a tree of characters.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/vocabulary.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace rtai::text {

/// A hash table of edges: as many steps for a text as it has characters, whatever their script.
class PieceTrie {
 public:
  using Node = std::uint32_t;
  static constexpr Node kRoot = 0;
  static constexpr Node kFree = ~Node{0};  // of an edge: the place is empty
  static constexpr std::uint32_t kFollowingBits = 11;

  struct Edge {
    Node from = kFree;
    std::uint32_t character : 21 = 0;
    std::uint32_t following : kFollowingBits = 0;  // bit_of() the characters that can come next
    Node to = 0;
    std::int32_t piece = Vocabulary::kNone;  // that ends here
  };

  PieceTrie() = default;
  /// Errors: invalid_input if edges are made to collide.
  static Result<PieceTrie> create(const Vocabulary& vocabulary);

  /// The first edge of a piece, or null.
  const Edge* first(char32_t character) const {
    if (character >= firsts_.size()) return find(kRoot, character);
    const Edge& edge = firsts_[character];
    return edge.from == kFree ? nullptr : &edge;
  }
  /// The edge for `character` after `edge`, or null.
  const Edge* next(const Edge& edge, char32_t character) const {
    // Most walks end here, where a table this full needs its longest searches.
    if ((edge.following & bit_of(character)) == 0) return nullptr;
    return find(edge.to, character);
  }

  /// The edge for `character`, or null.
  const Edge* find(Node from, char32_t character) const {
    for (std::size_t at = home(from, character);; at = (at + 1) & (edges_.size() - 1)) {
      const Edge& edge = edges_[at];
      if (edge.from == from && edge.character == character) return &edge;
      if (edge.from == kFree) return nullptr;
    }
  }

 private:
  std::size_t home(Node from, char32_t character) const {
    const std::uint64_t key = std::uint64_t{from} << 21 ^ character;
    return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15) >> shift_);
  }
  static std::uint32_t bit_of(char32_t character) { return 1u << character % kFollowingBits; }
  void finish(std::size_t nodes);
  Result<Edge*> insert(Node from, char32_t character);
  Result<void> grow();

  std::vector<Edge> firsts_;                        // of the characters below its size, copies
  std::vector<Edge> edges_ = std::vector<Edge>(2);  // a power of two
  int shift_ = 63;                                  // 64 - log2(edges)
  std::size_t count_ = 0;
};

}  // namespace rtai::text

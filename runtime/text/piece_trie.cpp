#include "runtime/text/internal/piece_trie.h"

#include "runtime/text/utf8.h"

#include <utility>

namespace rtai::text {
namespace {

// As in Vocabulary: tables this empty need a few dozen steps at worst, unless pieces are made to
// collide.
constexpr std::size_t kMaxEdgeSteps = 1024;

}  // namespace

Result<PieceTrie> PieceTrie::create(const Vocabulary& vocabulary) {
  PieceTrie trie;
  Node nodes = 1;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view piece = vocabulary.piece(id);
    Node node = kRoot;
    for (std::size_t at = 0; at < piece.size();) {
      const DecodedCharacter c = decode_utf8(piece, at);
      at += c.bytes;
      RTAI_TRY(Edge* const edge, trie.insert(node, c.value));
      if (edge->to == kRoot) edge->to = nodes++;
      if (at == piece.size()) edge->piece = static_cast<std::int32_t>(id);
      node = edge->to;
    }
  }
  trie.finish(nodes);
  return trie;
}

// What makes walks faster, once all edges have their places.
void PieceTrie::finish(std::size_t nodes) {
  constexpr char32_t kTwoByteCharacters = 0x800;
  std::vector<std::size_t> leads_to(nodes);  // [nodes]: the edge
  for (std::size_t i = 0; i < edges_.size(); ++i) {
    if (edges_[i].from != kFree) leads_to[edges_[i].to] = i;
  }
  for (const Edge& edge : edges_) {
    if (edge.from == kFree || edge.from == kRoot) continue;
    Edge& before = edges_[leads_to[edge.from]];
    before.following = (before.following | bit_of(edge.character)) & ((1u << kFollowingBits) - 1);
  }
  firsts_.resize(kTwoByteCharacters);
  for (char32_t c = 0; c < kTwoByteCharacters; ++c) {
    if (const Edge* edge = find(kRoot, c)) firsts_[c] = *edge;
  }
}

Result<PieceTrie::Edge*> PieceTrie::insert(Node from, char32_t character) {
  if (2 * count_ >= edges_.size()) RTAI_TRY_VOID(grow());
  std::size_t at = home(from, character);
  for (std::size_t step = 0; step < kMaxEdgeSteps; ++step, at = (at + 1) & (edges_.size() - 1)) {
    Edge& edge = edges_[at];
    if (edge.from == from && edge.character == character) return &edge;
    if (edge.from != kFree) continue;
    edge.from = from;
    edge.character = character & 0x1fffff;
    ++count_;
    return &edge;
  }
  return Error{ErrorCode::invalid_input, "the pieces collide with each other too often"};
}

Result<void> PieceTrie::grow() {
  std::vector<Edge> edges = std::exchange(edges_, std::vector<Edge>(2 * edges_.size()));
  --shift_;
  count_ = 0;
  for (const Edge& edge : edges) {
    if (edge.from == kFree) continue;
    RTAI_TRY(Edge* const copy, insert(edge.from, edge.character));
    *copy = edge;
  }
  return {};
}

}  // namespace rtai::text

#include "tools/vocabulary.h"

#include "runtime/text/utf8.h"

#include <algorithm>
#include <string>

namespace rtai::tools {
namespace {

/// What of a piece is text, and whether it continues a word.
struct Piece {
  std::string_view characters;
  bool continues;
};

Piece parse_piece(std::string_view piece, std::string_view continuation) {
  const bool continues = piece.size() > continuation.size() && piece.starts_with(continuation);
  return {continues ? piece.substr(continuation.size()) : piece, continues};
}

/// True if the piece is one character, or has one that no piece stands for by itself.
bool is_indispensable(std::string_view piece,
                      std::string_view continuation,
                      const text::Vocabulary& vocabulary) {
  auto [characters, continues] = parse_piece(piece, continuation);
  std::size_t count = 0;
  for (std::size_t at = 0; at < characters.size(); ++count) {
    const std::uint32_t bytes = text::decode_utf8(characters, at).bytes;
    std::string alone(continues ? continuation : "");
    alone += characters.substr(at, bytes);
    if (!vocabulary.find(alone)) return true;
    at += bytes;
    continues = true;
  }
  return count == 1;
}

}  // namespace

Result<std::vector<Index>> needed_tokens(const text::Tokenizer& tokenizer,
                                         std::span<const std::int32_t> seen) {
  const text::WordPieceSettings& settings = tokenizer.settings();
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  std::vector<bool> needed(static_cast<std::size_t>(tokenizer.id_limit()));
  const auto need = [&](std::optional<std::int32_t> id) {
    if (id && *id >= 0 && *id < tokenizer.id_limit()) needed[static_cast<std::size_t>(*id)] = true;
  };
  for (const text::AddedToken& token : settings.added_tokens)
    need(token.id);
  for (const std::string& token :
       {settings.unknown, settings.class_token, settings.separator, settings.pad, settings.mask})
    need(tokenizer.id_of(token));
  std::ranges::for_each(seen, need);
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary.piece(id).empty() &&
        is_indispensable(vocabulary.piece(id), settings.continuation, vocabulary))
      needed[id] = true;
  }
  std::vector<Index> ids;
  for (std::size_t id = 0; id < needed.size(); ++id)
    if (needed[id]) ids.push_back(static_cast<Index>(id));
  return ids;
}

Result<text::Tokenizer> narrow_tokenizer(const text::Tokenizer& tokenizer,
                                         std::span<const Index> kept) {
  text::WordPieceSettings settings = tokenizer.settings();
  for (text::AddedToken& token : settings.added_tokens) {
    const auto place = std::ranges::lower_bound(kept, Index{token.id});
    token.id = static_cast<std::int32_t>(place - kept.begin());
  }
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  std::vector<std::string> pieces;
  for (const Index id : kept) {
    const auto i = static_cast<std::size_t>(id);
    pieces.emplace_back(i < vocabulary.size() ? vocabulary.piece(i) : std::string_view());
  }
  return text::Tokenizer::create(pieces, std::move(settings));
}

}  // namespace rtai::tools

#include "runtime/text/internal/models.h"

#include "runtime/text/utf8.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace rtai::text {
namespace {

std::string quoted(std::string_view text) {
  return "'" + std::string(text) + "'";
}

Result<std::int32_t> unknown_id(const Vocabulary& vocabulary, const std::string& unknown) {
  // It is the answer of the model itself, so an added token would not do.
  const auto id = vocabulary.find(unknown);
  if (!id) return invalid_input("special token " + quoted(unknown) + " is not in the vocabulary");
  return *id;
}

// The pieces <0x00> to <0xFF>.
std::array<std::int32_t, 256> fallback_bytes(const Vocabulary& vocabulary) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::array<std::int32_t, 256> ids{};
  for (std::size_t byte = 0; byte < ids.size(); ++byte) {
    const std::string name = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    ids[byte] = vocabulary.find(name).value_or(Vocabulary::kNone);
  }
  return ids;
}

bool has_all(const std::array<std::int32_t, 256>& ids, std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [&](char byte) {
    return ids[static_cast<unsigned char>(byte)] != Vocabulary::kNone;
  });
}

}  // namespace

std::string_view model_name(const ModelSettings& model) {
  if (model.kind == ModelSettings::Kind::word_piece) return "WordPiece";
  if (model.kind == ModelSettings::Kind::unigram) return "Unigram";
  return model.byte_level ? "byte-level BPE" : "BPE";
}

char32_t byte_character(std::uint8_t byte) {
  const auto is_printable = [](unsigned b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
  };
  if (is_printable(byte)) return byte;
  char32_t character = 0x100;
  for (unsigned before = 0; before < byte; ++before)
    character += is_printable(before) ? 0 : 1;
  return character;
}

std::string bytes_of(std::string_view piece) {
  static const auto bytes = [] {
    std::array<std::int32_t, 0x144> all;
    all.fill(-1);
    for (unsigned byte = 0; byte < 256; ++byte)
      all[byte_character(static_cast<std::uint8_t>(byte))] = static_cast<std::int32_t>(byte);
    return all;
  }();
  std::string result;
  for (std::size_t at = 0; at < piece.size();) {
    const DecodedCharacter c = decode_utf8(piece, at);
    at += c.bytes;
    if (c.value >= bytes.size() || bytes[c.value] < 0) return {};
    result += static_cast<char>(bytes[c.value]);
  }
  return result;
}

Result<Model> make_model(const Vocabulary& vocabulary, const ModelSettings& settings) {
  switch (settings.kind) {
    case ModelSettings::Kind::word_piece: {
      RTAI_TRY(WordPieceModel model, WordPieceModel::create(vocabulary, settings));
      return Model(std::move(model));
    }
    case ModelSettings::Kind::bpe: {
      RTAI_TRY(BpeModel model, BpeModel::create(vocabulary, settings));
      return Model(std::move(model));
    }
    case ModelSettings::Kind::unigram:
      break;
  }
  RTAI_TRY(UnigramModel model, UnigramModel::create(vocabulary, settings));
  return Model(std::move(model));
}

// --- WordPiece

Result<WordPieceModel> WordPieceModel::create(const Vocabulary& vocabulary,
                                              const ModelSettings& settings) {
  WordPieceModel model;
  if (settings.max_chars_per_word < 1) {
    return invalid_input("expected at least 1 character per word, found " +
                         std::to_string(settings.max_chars_per_word));
  }
  model.max_characters_ = static_cast<std::uint32_t>(settings.max_chars_per_word);
  RTAI_TRY(model.unknown_, unknown_id(vocabulary, settings.unknown));
  RTAI_TRY(model.trie_, PieceTrie::create(vocabulary));
  for (std::size_t at = 0; at < settings.continuation.size();) {
    const DecodedCharacter c = decode_utf8(settings.continuation, at);
    at += c.bytes;
    const PieceTrie::Edge* edge = model.trie_.find(model.continuation_, c.value);
    model.continuation_ = edge == nullptr ? PieceTrie::kFree : edge->to;
    if (edge == nullptr) break;
  }
  return model;
}

void WordPieceModel::split(const Vocabulary& vocabulary,
                           std::string_view word,
                           Scratch&,
                           std::vector<PieceToken>& tokens) const {
  const std::size_t before = tokens.size();
  const auto size = static_cast<std::uint32_t>(word.size());
  // Words that are pieces are most of all. (Bytes are at least as many as characters.)
  if (size <= max_characters_) {
    Vocabulary::Hash hash = Vocabulary::kWordSeed;
    for (const char byte : word)
      hash = Vocabulary::extend(hash, byte);
    if (const std::int32_t id = vocabulary.find_word(hash, word); id != Vocabulary::kNone) {
      tokens.push_back({id, 0, size});
      return;
    }
  }
  const bool too_long = size > max_characters_ && count_characters(word) > max_characters_;
  bool spelled = !too_long;
  for (std::uint32_t begin = 0; spelled && begin < size;) {
    std::uint32_t end = begin;
    std::int32_t id = Vocabulary::kNone;
    const PieceTrie::Edge* edge = nullptr;
    for (std::uint32_t at = begin; at < size;) {
      const DecodedCharacter c = decode_utf8(word, at);
      edge = at > begin   ? trie_.next(*edge, c.value)
             : begin == 0 ? trie_.first(c.value)
                          : trie_.find(continuation_, c.value);
      if (edge == nullptr) break;
      at += c.bytes;
      if (edge->piece == Vocabulary::kNone) continue;
      id = edge->piece;
      end = at;
    }
    spelled = id != Vocabulary::kNone;
    tokens.push_back({id, begin, end});
    begin = end;
  }
  if (spelled) return;
  // One piece that is not in the vocabulary makes the whole word unknown.
  tokens.resize(before);
  tokens.push_back({unknown_, 0, size});
}

// --- BPE

Result<BpeModel> BpeModel::create(const Vocabulary& vocabulary, const ModelSettings& settings) {
  BpeModel model;
  model.byte_level_ = settings.byte_level;
  model.fuse_unknown_ = settings.fuse_unknown;
  model.ignore_merges_ = settings.ignore_merges;
  model.fallback_bytes_.fill(Vocabulary::kNone);
  if (settings.byte_fallback) model.fallback_bytes_ = fallback_bytes(vocabulary);
  if (!settings.unknown.empty()) {
    RTAI_TRY(model.unknown_, unknown_id(vocabulary, settings.unknown));
  }
  if (settings.byte_level) {
    for (std::size_t byte = 0; byte < model.bytes_.size(); ++byte) {
      std::string name;
      append_utf8(name, byte_character(static_cast<std::uint8_t>(byte)));
      const auto id = vocabulary.find(name);
      if (!id) {
        return Error{ErrorCode::unsupported, "a byte-level vocabulary without a piece for byte " +
                                                 std::to_string(byte) + " is not supported"};
      }
      model.bytes_[byte] = *id;
    }
  }
  RTAI_TRY_VOID(model.prepare_merges(vocabulary, settings));
  RTAI_TRY_VOID(model.prepare_words(vocabulary));
  return model;
}

Result<void> BpeModel::prepare_merges(const Vocabulary& vocabulary, const ModelSettings& settings) {
  const int bits = static_cast<int>(std::bit_width(settings.merges.size() | 1));
  merges_.resize(std::size_t{2} << bits);
  shift_ = 63 - bits;
  std::string text;
  for (std::size_t rank = 0; rank < settings.merges.size(); ++rank) {
    const auto [left, right] = settings.merges[rank];
    const auto is_piece = [&](std::int32_t id) {
      return id >= 0 && static_cast<std::size_t>(id) < vocabulary.size() &&
             !vocabulary.piece(static_cast<std::size_t>(id)).empty();
    };
    if (!is_piece(left) || !is_piece(right)) {
      return invalid_input("merge " + std::to_string(rank) + " names an id that is no piece");
    }
    text = vocabulary.piece(static_cast<std::size_t>(left));
    text += vocabulary.piece(static_cast<std::size_t>(right));
    const auto merged = vocabulary.find(text);
    if (!merged) {
      return invalid_input("merge " + std::to_string(rank) + " makes " + quoted(text) +
                           ", which is not in the vocabulary");
    }
    const std::uint64_t pair = pair_of(left, right);
    std::size_t at = home(pair);
    std::size_t steps = 0;
    for (; merges_[at].pair != kNoPair && merges_[at].pair != pair; ++steps)
      at = (at + 1) & (merges_.size() - 1);
    constexpr std::size_t kMaxSteps = 1024;
    if (steps > kMaxSteps) return invalid_input("the merges collide with each other too often");
    merges_[at] = {pair, static_cast<std::uint32_t>(rank), *merged};
  }
  return {};
}

// Most words of a text are one piece. Those that their merges lead to are found at once.
Result<void> BpeModel::prepare_words(const Vocabulary& vocabulary) {
  std::string text;
  std::vector<std::uint32_t> ends;
  Scratch scratch;
  std::vector<PieceToken> tokens;
  ends.reserve(vocabulary.size());
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string word =
        byte_level_ ? bytes_of(vocabulary.piece(id)) : std::string(vocabulary.piece(id));
    tokens.clear();
    if (!word.empty() && !ignore_merges_) split(vocabulary, word, scratch, tokens);
    const bool is_one = tokens.size() == 1 && tokens[0].id == static_cast<std::int32_t>(id) &&
                        tokens[0].end == word.size();
    if (is_one || ignore_merges_) text += word;
    ends.push_back(static_cast<std::uint32_t>(text.size()));
  }
  RTAI_TRY(words_,
           Vocabulary::create(std::move(text), std::move(ends), {}, Vocabulary::Content::bytes));
  return {};
}

void BpeModel::split(const Vocabulary& vocabulary,
                     std::string_view word,
                     Scratch& scratch,
                     std::vector<PieceToken>& tokens) const {
  if (word.size() <= words_.longest_word()) {
    Vocabulary::Hash hash = Vocabulary::kWordSeed;
    for (const char byte : word)
      hash = Vocabulary::extend(hash, byte);
    if (const std::int32_t id = words_.find_word(hash, word); id != Vocabulary::kNone) {
      tokens.push_back({id, 0, static_cast<std::uint32_t>(word.size())});
      return;
    }
  }
  constexpr std::size_t kFew = 32;
  spell(vocabulary, word, scratch.symbols);
  if (scratch.symbols.size() <= kFew) {
    merge_few(scratch.symbols);
  } else {
    merge_many(scratch);
  }
  std::uint32_t at = 0;
  for (const Symbol& symbol : scratch.symbols) {
    if (symbol.bytes == 0) continue;
    tokens.push_back({symbol.id, at, at + symbol.bytes});
    at += symbol.bytes;
  }
}

// The pieces of single characters.
void BpeModel::spell(const Vocabulary& vocabulary,
                     std::string_view word,
                     std::vector<Symbol>& symbols) const {
  symbols.clear();
  if (byte_level_) {
    for (const char byte : word)
      symbols.push_back({bytes_[static_cast<unsigned char>(byte)], 1});
    return;
  }
  std::uint32_t unknown_bytes = 0;  // of unknown characters that have no symbol yet
  const auto put_unknown = [&] {
    if (unknown_bytes > 0) symbols.push_back({unknown_, unknown_bytes});
    unknown_bytes = 0;
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::uint32_t bytes = decode_utf8(word, at).bytes;
    const std::string_view character = word.substr(at, bytes);
    at += bytes;
    if (const auto id = vocabulary.find(character)) {
      put_unknown();
      symbols.push_back({*id, bytes});
    } else if (has_all(fallback_bytes_, character)) {
      for (const char byte : character)
        symbols.push_back({fallback_bytes_[static_cast<unsigned char>(byte)], 1});
    } else if (unknown_ != Vocabulary::kNone) {
      if (!fuse_unknown_) put_unknown();
      unknown_bytes += bytes;
    }
  }
  put_unknown();
}

// As many steps as symbols squared, but each of them cheap.
void BpeModel::merge_few(std::vector<Symbol>& symbols) const {
  constexpr std::uint32_t kNever = std::numeric_limits<std::uint32_t>::max();
  std::array<Candidate, 32> next;  // [i]: the merge of symbols i and i + 1
  const auto look = [&](std::size_t i) {
    const Merge* merge = find_merge(symbols[i].id, symbols[i + 1].id);
    next[i] = merge == nullptr ? Candidate{kNever, 0, 0} : Candidate{merge->rank, 0, merge->merged};
  };
  std::size_t count = symbols.size();
  for (std::size_t i = 0; i + 1 < count; ++i)
    look(i);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (next[i].rank < next[best].rank) best = i;
    }
    if (next[best].rank == kNever) break;
    symbols[best] = {next[best].merged, symbols[best].bytes + symbols[best + 1].bytes};
    --count;
    for (std::size_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      next[i - 1] = next[i];
    }
    if (best > 0) look(best - 1);
    if (best + 1 < count) look(best);
  }
  symbols.resize(count);
}

// With a queue, for words of any length.
void BpeModel::merge_many(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Candidate>& queue = scratch.queue;
  const auto count = static_cast<std::int32_t>(symbols.size());
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  const auto symbol = [&](std::int32_t i) -> Symbol& {
    return symbols[static_cast<std::size_t>(i)];
  };
  scratch.next.resize(symbols.size());
  scratch.previous.resize(symbols.size());
  for (std::int32_t i = 0; i < count; ++i) {
    scratch.next[static_cast<std::size_t>(i)] = i + 1;
    scratch.previous[static_cast<std::size_t>(i)] = i - 1;
  }
  const auto next = [&](std::int32_t i) -> std::int32_t& {
    return scratch.next[static_cast<std::size_t>(i)];
  };
  const auto previous = [&](std::int32_t i) -> std::int32_t& {
    return scratch.previous[static_cast<std::size_t>(i)];
  };
  queue.clear();
  const auto offer = [&](std::int32_t i) {
    if (i < 0 || next(i) >= count) return;
    if (const Merge* merge = find_merge(symbol(i).id, symbol(next(i)).id)) {
      queue.push_back({merge->rank, i, merge->merged});
      std::push_heap(queue.begin(), queue.end(), later);
    }
  };
  for (std::int32_t i = 0; i < count; ++i)
    offer(i);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), later);
    const Candidate top = queue.back();
    queue.pop_back();
    if (symbol(top.at).bytes == 0 || next(top.at) >= count) continue;
    const std::int32_t right = next(top.at);
    const Merge* merge = find_merge(symbol(top.at).id, symbol(right).id);
    if (merge == nullptr || merge->merged != top.merged) continue;  // one of them was merged since
    symbol(top.at) = {top.merged, symbol(top.at).bytes + symbol(right).bytes};
    symbol(right).bytes = 0;
    next(top.at) = next(right);
    if (next(top.at) < count) previous(next(top.at)) = top.at;
    offer(previous(top.at));
    offer(top.at);
  }
}

// --- Unigram

Result<UnigramModel> UnigramModel::create(const Vocabulary& vocabulary,
                                          const ModelSettings& settings) {
  constexpr double kUnknownPenalty = 10;
  UnigramModel model;
  if (settings.scores.size() != vocabulary.size() || settings.scores.empty()) {
    return invalid_input("expected a score for each of " + std::to_string(vocabulary.size()) +
                         " pieces, found " + std::to_string(settings.scores.size()));
  }
  for (const double score : settings.scores) {
    if (!std::isfinite(score)) return invalid_input("the score of a piece is not a finite number");
  }
  RTAI_TRY(model.unknown_, unknown_id(vocabulary, settings.unknown));
  RTAI_TRY(model.trie_, PieceTrie::create(vocabulary));
  model.scores_ = settings.scores;
  model.unknown_score_ =
      *std::min_element(model.scores_.begin(), model.scores_.end()) - kUnknownPenalty;
  model.fallback_bytes_.fill(Vocabulary::kNone);
  if (settings.byte_fallback) model.fallback_bytes_ = fallback_bytes(vocabulary);
  return model;
}

void UnigramModel::split(const Vocabulary& vocabulary,
                         std::string_view word,
                         Scratch& scratch,
                         std::vector<PieceToken>& tokens) const {
  constexpr std::uint32_t kUnreached = std::numeric_limits<std::uint32_t>::max();
  const auto size = static_cast<std::uint32_t>(word.size());
  std::vector<Best>& best = scratch.best;
  best.assign(word.size() + 1, {0, 0, kUnreached});
  const auto offer = [&](std::uint32_t begin, std::uint32_t end, std::int32_t id, double score) {
    if (best[end].begin == kUnreached || score > best[end].score) best[end] = {score, id, begin};
  };
  for (std::uint32_t begin = 0; begin < size;) {
    const double so_far = best[begin].score;
    const PieceTrie::Edge* edge = nullptr;
    std::uint32_t first_end = 0;
    bool has_single = false;
    for (std::uint32_t at = begin; at < size;) {
      const DecodedCharacter c = decode_utf8(word, at);
      at += c.bytes;
      const bool is_first = first_end == 0;
      if (is_first) first_end = at;
      edge = is_first ? trie_.first(c.value) : trie_.next(*edge, c.value);
      if (edge == nullptr) break;
      if (edge->piece == Vocabulary::kNone) continue;
      has_single |= at == first_end;
      offer(begin, at, edge->piece, scores_[static_cast<std::size_t>(edge->piece)] + so_far);
    }
    if (!has_single) offer(begin, first_end, unknown_, unknown_score_ + so_far);
    begin = first_end;
  }
  // Backwards; unknown pieces side by side become one.
  const std::size_t first = tokens.size();
  for (std::uint32_t end = size; end > 0;) {
    const Best& last = best[end];
    const bool fuses = last.id == unknown_ && tokens.size() > first && tokens.back().id == unknown_;
    if (fuses) {
      tokens.back().begin = last.begin;
    } else {
      tokens.push_back({last.id, last.begin, end});
    }
    end = last.begin;
  }
  std::reverse(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end());
  const bool has_unknown =
      std::any_of(tokens.begin() + static_cast<std::ptrdiff_t>(first), tokens.end(),
                  [this](const PieceToken& token) { return token.id == unknown_; });
  if (has_unknown) name_unknown(vocabulary, word, first, scratch.named, tokens);
}

// What the pieces could not spell may still be a piece as a whole, or bytes. Written anew: put in
// place, the bytes of each unknown character would move all that follows.
void UnigramModel::name_unknown(const Vocabulary& vocabulary,
                                std::string_view word,
                                std::size_t first,
                                std::vector<PieceToken>& named,
                                std::vector<PieceToken>& tokens) const {
  named.clear();
  for (std::size_t i = first; i < tokens.size(); ++i) {
    PieceToken token = tokens[i];
    const std::string_view text = word.substr(token.begin, token.end - token.begin);
    if (token.id == unknown_) {
      const auto id = vocabulary.find(text);
      if (!id && has_all(fallback_bytes_, text)) {
        for (const char byte : text)
          named.push_back(
              {fallback_bytes_[static_cast<unsigned char>(byte)], token.begin, token.end});
        continue;
      }
      token.id = id.value_or(unknown_);
    }
    named.push_back(token);
  }
  tokens.resize(first);
  tokens.insert(tokens.end(), named.begin(), named.end());
}

}  // namespace rtai::text

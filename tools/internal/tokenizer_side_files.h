// What lies beside a vocabulary and says how it is used.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"
#include "tools/json_file.h"

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

struct SideFiles {
  JsonValue config;   // tokenizer_config.json
  JsonValue special;  // special_tokens_map.json
  JsonValue added;    // added_tokens.json
  JsonValue model;    // config.json

  // The newer file counts.
  JsonValue either(const std::string& key) const {
    return config[key].exists() ? config[key] : special[key];
  }
};

/// BERT's vocab.txt.
Result<text::Tokenizer> from_vocab_txt(std::string_view vocabulary, const SideFiles& files);

/// vocab.json and merges.txt of RoBERTa and GPT-2.
Result<text::Tokenizer> from_bpe_files(const JsonValue& vocabulary,
                                       std::string_view merges,
                                       const SideFiles& files);

/// A model of sentencepiece, of ALBERT, CamemBERT, DeBERTa-v2 and -v3, XLM-RoBERTa.
Result<text::Tokenizer> from_sentencepiece(std::span<const std::byte> bytes,
                                           const SideFiles& files);

/// The tokenizer class without "Fast", from tokenizer_config.json, else by the model_type of
/// config.json. Errors: invalid_input if no file says.
Result<std::string> tokenizer_class(const SideFiles& files);

/// Lines as Python reads them. Errors: invalid_input if there are more than `limit`.
Result<std::vector<std::string>> split_lines(std::string_view text, std::size_t limit);

/// The special and added tokens of a tokenizer without tokenizer.json, as Transformers 5 collects
/// them: from added_tokens_decoder of tokenizer_config.json; where that is absent, from
/// special_tokens_map.json and added_tokens.json; then those with a name, then the others.
/// Source: TokenizersBackend and PreTrainedTokenizerBase of Transformers 5.24.
class TokenCollection {
 public:
  enum Name : std::uint8_t { bos, eos, unk, sep, pad, cls, mask, kNames };
  using Defaults = std::array<std::optional<text::AddedToken>, kNames>;

  /// A token as a class names one: special, sought in the text as it is.
  static text::AddedToken plain(std::string content);

  /// `others`: of the vocabulary's own file, used where no file beside it lists others.
  static Result<TokenCollection> create(const SideFiles& files,
                                        const Defaults& defaults,
                                        std::vector<text::AddedToken> others);

  /// The content of a named token; empty if there is none.
  const std::string& operator[](Name name) const { return names_[name]; }

  /// The id of a named token among `numbered`. Errors: invalid_input if there is none.
  Result<std::int32_t> id(Name name, std::span<const text::AddedToken> numbered) const;

  /// All of them with ids, ascending: that of the piece, else the next free one.
  std::vector<text::AddedToken> numbered(std::span<const std::string> pieces) const;

 private:
  void put(text::AddedToken token);

  std::array<std::string, kNames> names_;
  std::vector<text::AddedToken> tokens_;  // in the order in which they get new ids
};

}  // namespace rtai::tools

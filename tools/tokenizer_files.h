// Tokenizers as Hugging Face tools keep them: tokenizer.json, or a vocabulary and what lies beside
// it.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"

#include <filesystem>
#include <optional>

namespace rtai::tools {

/// The tokenizer in `folder`: from tokenizer.json; else from vocab.txt, a model of sentencepiece
/// (spiece.model, sentencepiece.bpe.model, spm.model), or vocab.json with merges.txt, each with
/// tokenizer_config.json (and special_tokens_map.json, added_tokens.json; config.json for the
/// class). Nothing if the folder has no tokenizer.
///
/// The length limit is `model_max_length` of tokenizer_config.json; 512 where that is absent or the
/// placeholder for "none" (1e6 or more).
///
/// Errors: not_found if there is no such folder; invalid_input for a malformed file, naming file
///         and key; unsupported for what rtai does not do exactly as the library; io.
Result<std::optional<text::Tokenizer>> load_tokenizer(const std::filesystem::path& folder);

/// Writes tokenizer_config.json and tokenizer.json into `folder`, which exists; vocab.txt, too, if
/// that says all of it.
///
/// Errors: unsupported if a piece cannot stand in a line of vocab.txt; io.
Result<void> save_tokenizer(const text::Tokenizer& tokenizer, const std::filesystem::path& folder);

}  // namespace rtai::tools

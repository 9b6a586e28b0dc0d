// The parts of a tokenizer.json, each read into the primitive steps that it amounts to.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"
#include "tools/json_file.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// Errors, of all of them: invalid_input, naming the key; unsupported for a kind or an option that
/// rtai does not do exactly as the library does, naming it.

/// The `type` of a part; "none" if the part or its type is absent.
Result<std::string> kind_of(const JsonValue& part);

Result<std::vector<text::NormalizerStep>> read_normalizer(const JsonValue& normalizer);

/// Appends to settings.splitter; sets settings.model.byte_level.
Result<void> read_splitter(const JsonValue& splitter, text::TokenizerSettings& settings);

/// Pieces by id.
Result<std::vector<std::string>> read_model(const JsonValue& model, text::ModelSettings& settings);

/// Pieces by id, from a vocab.json and the text of a merges.txt.
Result<std::vector<std::string>> read_bpe_files(const JsonValue& vocabulary,
                                                std::string_view merges,
                                                text::ModelSettings& settings);

/// A token of a frame, as the file names it.
struct NamedToken {
  std::string content;
  std::int32_t id;
};

/// The frames, with what is needed to check their ids once the tokenizer is made.
struct Frames {
  std::vector<NamedToken> tokens;
  bool found = false;
};

/// Sets the frames of `settings` and how offsets are trimmed.
Result<void> read_processor(const JsonValue& processor,
                            text::TokenizerSettings& settings,
                            Frames& frames);

}  // namespace rtai::tools

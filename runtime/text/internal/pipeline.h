// What a tokenizer works with, made from its settings.
#pragma once

#include "runtime/text/internal/models.h"
#include "runtime/text/internal/normalizer.h"
#include "runtime/text/internal/splitter.h"
#include "runtime/text/tokenizer_settings.h"
#include "runtime/text/vocabulary.h"

namespace rtai::text {

/// Where a text may be cut and read in stretches.
struct Cuts {
  bool before_spaces = false;      // between a letter or digit and a space that another follows
  bool after_punctuation = false;  // between punctuation and another character of ASCII
  bool between_chinese = false;    // between two Chinese characters
};

struct Pipeline {
  Vocabulary vocabulary;
  TokenizerSettings settings;
  Normalizer normalizer;
  Splitter splitter;
  Model model;
  PatternFinder raw_tokens;         // added tokens sought in the text as it is
  PatternFinder normalized_tokens;  // and those sought in the normalized text
  Cuts cuts;
  std::int32_t class_id = Vocabulary::kNone;
  std::int32_t separator_id = Vocabulary::kNone;
  std::int32_t id_limit = 0;
};

}  // namespace rtai::text

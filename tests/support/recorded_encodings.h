// What tests compare tokenizers with: answers that other libraries gave.
#pragma once

#include "runtime/text/tokenizer.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <string>

namespace rtai::testing {

inline nlohmann::json offsets_of(const text::Encoding& encoding) {
  nlohmann::json offsets = nlohmann::json::array();
  for (const text::Offset offset : encoding.offsets)
    offsets.push_back({offset.begin, offset.end});
  return offsets;
}

/// `recorded`: {"texts": [{"text", "ids", "offsets"}], "pair": {"texts", "ids", "segments",
/// "offsets"}}.
inline void check_against(const nlohmann::json& recorded,
                          const std::string& name,
                          const text::Tokenizer& tokenizer) {
  using nlohmann::json;
  for (const json& expected : recorded["texts"]) {
    CAPTURE(name, expected["text"].dump());
    const text::Encoding encoding = tokenizer.encode(std::string(expected["text"]));
    CHECK(json(encoding.ids) == expected["ids"]);
    CHECK(offsets_of(encoding) == expected["offsets"]);
  }
  const json& pair = recorded["pair"];
  const text::Encoding encoding =
      tokenizer.encode_pair(std::string(pair["texts"][0]), std::string(pair["texts"][1]));
  CAPTURE(name);
  CHECK(json(encoding.ids) == pair["ids"]);
  CHECK(json(encoding.segments) == pair["segments"]);
  CHECK(offsets_of(encoding) == pair["offsets"]);
}

}  // namespace rtai::testing

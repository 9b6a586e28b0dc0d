#include "tools/tokenizer_files.h"

#include "tests/support/shared_files.h"
#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>

namespace rtai::tools {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int32_t>;

class Folder : public testing::TempFolder {
 public:
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(path() / name) << text;
  }
};

constexpr std::string_view kVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncaf\n##e\nThe\n";

json special_token(const char* content, int id) {
  return {{"id", id},        {"content", content}, {"special", true},    {"single_word", false},
          {"lstrip", false}, {"rstrip", false},    {"normalized", false}};
}

json template_step(const char* kind, const char* id, int segment) {
  return {{kind, {{"id", id}, {"type_id", segment}}}};
}

// As all-MiniLM-L6-v2 comes: with the padding and truncation of its export.
json tokenizer_json() {
  return {{"version", "1.0"},
          {"truncation", {{"max_length", 4}, {"strategy", "LongestFirst"}, {"stride", 0}}},
          {"padding", {{"strategy", {{"Fixed", 128}}}, {"pad_id", 0}}},
          {"added_tokens", {special_token("[CLS]", 2), special_token("[MASK]", 4)}},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", true},
            {"strip_accents", nullptr},
            {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single",
             {template_step("SpecialToken", "[CLS]", 0), template_step("Sequence", "A", 0),
              template_step("SpecialToken", "[SEP]", 0)}},
            {"pair",
             {template_step("SpecialToken", "[CLS]", 0), template_step("Sequence", "A", 0),
              template_step("SpecialToken", "[SEP]", 0), template_step("Sequence", "B", 1),
              template_step("SpecialToken", "[SEP]", 1)}},
            {"special_tokens",
             {{"[CLS]", {{"id", "[CLS]"}, {"ids", {2}}, {"tokens", {"[CLS]"}}}},
              {"[SEP]", {{"id", "[SEP]"}, {"ids", {3}}, {"tokens", {"[SEP]"}}}}}}}},
          {"decoder", {{"type", "WordPiece"}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab",
             {{"[PAD]", 0},
              {"[UNK]", 1},
              {"[CLS]", 2},
              {"[SEP]", 3},
              {"[MASK]", 4},
              {"the", 5},
              {"caf", 6},
              {"##e", 7},
              {"The", 8}}}}}};
}

text::Tokenizer load(const Folder& folder) {
  auto tokenizer = load_tokenizer(folder.path());
  if (!tokenizer) FAIL(tokenizer.error().message());
  REQUIRE(tokenizer->has_value());
  return **std::move(tokenizer);
}

struct Refusal {
  ErrorCode code;
  std::string message;  // the folder's path removed
};

Refusal refusal(const Folder& folder) {
  const auto tokenizer = load_tokenizer(folder.path());
  if (tokenizer) return {ErrorCode::internal, "loaded"};
  std::string message = tokenizer.error().message();
  const std::string path = folder.path().string() + "/";
  const std::size_t place = message.find(path);
  if (place != std::string::npos) message.erase(place, path.size());
  return {tokenizer.error().code(), message};
}

// What loading says about a tokenizer.json that `change` was applied to.
template <class Change>
Refusal refusal_after(Change change) {
  const Folder folder;
  json document = tokenizer_json();
  change(document);
  folder.write("tokenizer.json", document.dump());
  return refusal(folder);
}

TEST_CASE("a folder without a tokenizer has none, and one that is absent is an error") {
  const Folder folder;
  folder.write("config.json", "{}");
  const auto none = load_tokenizer(folder.path());
  REQUIRE(none);
  CHECK_FALSE(none->has_value());
  const auto absent = load_tokenizer(folder.path() / "absent");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code() == ErrorCode::not_found);
}

TEST_CASE("a tokenizer.json is read, its padding and truncation left aside") {
  const Folder folder;
  folder.write("tokenizer.json", tokenizer_json().dump());
  const text::Tokenizer tokenizer = load(folder);
  CHECK(tokenizer.encode("The CAF\u00c9 the [MASK] the").ids == Ids{2, 5, 6, 7, 5, 4, 5, 3});
  CHECK(tokenizer.settings().max_length == 512);
  CHECK(tokenizer.settings().normalizes(text::NormalizerStep::Kind::strip_marks));
  CHECK(tokenizer.settings().added_tokens.size() == 2);
}

TEST_CASE("the length limit is that of tokenizer_config.json where it is one") {
  const auto limit = [](std::string_view length) {
    const Folder folder;
    folder.write("tokenizer.json", tokenizer_json().dump());
    folder.write("tokenizer_config.json", "{\"model_max_length\": " + std::string(length) + "}");
    return load(folder).settings().max_length;
  };
  CHECK(limit("128") == 128);
  CHECK(limit("256.0") == 256);
  CHECK(limit("1000000000000000019884624838656") == 512);
  CHECK(limit("1e30") == 512);
  CHECK(limit("999999") == 999'999);
  CHECK(limit("null") == 512);
}

TEST_CASE("flags, BertProcessing and an absent normalizer are honoured") {
  const Folder folder;
  json document = tokenizer_json();
  document["post_processor"] = {
      {"type", "BertProcessing"}, {"sep", {"[SEP]", 3}}, {"cls", {"[CLS]", 2}}};
  document["normalizer"]["lowercase"] = false;
  document["model"]["max_input_chars_per_word"] = 3;
  folder.write("tokenizer.json", document.dump());
  const text::Tokenizer cased = load(folder);
  CHECK_FALSE(cased.settings().normalizes(
      text::NormalizerStep::Kind::strip_marks));  // null means: as lowercase
  CHECK(cased.encode("The the cafe").ids == Ids{2, 8, 5, 1, 3});

  document["normalizer"] = nullptr;
  folder.write("tokenizer.json", document.dump());
  CHECK_FALSE(load(folder).settings().normalizes(text::NormalizerStep::Kind::clean_text));

  // Files of old versions name no model.
  document["model"].erase("type");
  folder.write("tokenizer.json", document.dump());
  CHECK(load(folder).encode("the").ids == Ids{2, 5, 3});
}

TEST_CASE("what rtai does not do exactly is refused by its name") {
  const auto unsupported = [](auto change) {
    const Refusal result = refusal_after(change);
    CHECK(result.code == ErrorCode::unsupported);
    REQUIRE(result.message.starts_with("tokenizer.json: "));
    return result.message.substr(16);
  };
  const auto bpe = [](json& j) {
    j["model"] = {{"type", "BPE"},
                  {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}},
                  {"merges", json::array({"a b"})}};
    j["post_processor"] = nullptr;
    j["added_tokens"] = json::array();
  };
  CHECK(unsupported([](json& j) { j["model"]["type"] = "WordLevel"; }) ==
        "tokenizer model 'WordLevel' is not supported; supported: WordPiece, BPE, Unigram");
  CHECK(unsupported([](json& j) {
          j["model"] = {{"vocab", {{"a", 0}}}};
        }) == "tokenizer model 'none' is not supported; supported: WordPiece, BPE, Unigram");
  CHECK(unsupported([&](json& j) {
          bpe(j);
          j["model"]["dropout"] = 0.1;
        }) == "tokenizer option model.dropout = 0.1 is not supported");
  CHECK(unsupported([&](json& j) {
          bpe(j);
          j["model"]["end_of_word_suffix"] = "</w>";
        }) == "tokenizer option model.end_of_word_suffix = \"</w>\" is not supported");
  CHECK(unsupported([&](json& j) {
          bpe(j);
          j["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
        }) == "a byte-level vocabulary without a piece for byte 0 is not supported");
  CHECK(unsupported([](json& j) {
          j["model"] = {{"type", "Unigram"}, {"vocab", json::array({json::array({"a", -1.5})})}};
        }) == "tokenizer model Unigram without unk_id is not supported");
  CHECK(unsupported([](json& j) {
          j["normalizer"] = {{"type", "ByteLevel"}};
        }).starts_with("tokenizer normalizer 'ByteLevel' is not supported; supported: Bert"));
  CHECK(
      unsupported([](json& j) {
        j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "a+"}}}, {"content", "b"}};
      }) ==
      R"(tokenizer normalizer expression 'a+' is not supported; supported: ' {2,}', '\s{2,}|[\n\r\t]')");
  CHECK(unsupported([](json& j) {
          j["pre_tokenizer"]["type"] = "UnicodeScripts";
        }).starts_with("tokenizer pre_tokenizer 'UnicodeScripts' is not supported; supported: B"));
  CHECK(unsupported([](json& j) {
          j["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
        }) == "tokenizer pre_tokenizer ByteLevel is supported with the model BPE only");
  CHECK(unsupported([](json& j) {
          const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
          const json digits = {{"type", "Digits"}, {"individual_digits", false}};
          j["pre_tokenizer"] = {{"type", "Sequence"},
                                {"pretokenizers", json::array({bytes, digits})}};
        }) == "tokenizer pre_tokenizer ByteLevel is supported as the last one only");
  CHECK(unsupported([](json& j) {
          j["pre_tokenizer"] = {{"type", "Split"},
                                {"pattern", {{"Regex", "\\s"}}},
                                {"behavior", "Isolated"},
                                {"invert", false}};
        }) ==
        "tokenizer pre_tokenizer expression '\\s' is not supported; supported: that of GPT-2");
  CHECK(unsupported([](json& j) {
          j["post_processor"]["type"] = "Other";
        }).starts_with("tokenizer post_processor 'Other' is not supported; supported: Bert"));
  CHECK(unsupported([](json& j) {
          const json frame = j["post_processor"];
          j["post_processor"] = {{"type", "Sequence"}, {"processors", json::array({frame, frame})}};
        }) == "tokenizer has more than one frame, which is not supported");
  CHECK(unsupported([](json& j) {
          j["post_processor"] = {{"type", "ByteLevel"}};
        }) == "tokenizer option post_processor.trim_offsets is supported with BPE only");
  CHECK(unsupported([](json& j) { j["version"] = "2.0"; }) ==
        "tokenizer version '2.0' is not supported; supported: 1.0");
}

TEST_CASE("parts of other kinds that are wrong are refused with their place") {
  const auto wrong = [](auto change) {
    const Refusal result = refusal_after(change);
    CHECK(result.code == ErrorCode::invalid_input);
    REQUIRE(result.message.starts_with("tokenizer.json: "));
    return result.message.substr(16);
  };
  const auto with_bpe = [&](json merges) {
    return wrong([&](json& j) {
      j["model"] = {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}};
      j["model"]["merges"] = merges;
      j["post_processor"] = nullptr;
      j["added_tokens"] = json::array();
    });
  };
  CHECK(with_bpe("a b") == "model.merges: expected an array, found string");
  CHECK(with_bpe(json::array({"a b c"})) ==
        "model.merges[0]: expected two pieces with a space between them, found string");
  CHECK(with_bpe(json::array({"a b", "a x"})) == "model.merges[1]: 'x' is not in the vocabulary");
  CHECK(with_bpe(json::array({"a b", "b a"})) ==
        "merge 1 makes 'ba', which is not in the vocabulary");
  CHECK(with_bpe(json::array({json::array({"a"})})) ==
        "model.merges[0]: expected two pieces, found array");
  const auto with_unigram = [&](json vocab, json unknown) {
    return wrong([&](json& j) {
      j["model"] = {{"type", "Unigram"}, {"vocab", vocab}, {"unk_id", unknown}};
      j["post_processor"] = nullptr;
      j["added_tokens"] = json::array();
    });
  };
  CHECK(with_unigram(json::array({json::array({"a", "b"})}), 0) ==
        "model.vocab[0]: expected a piece and its score, found array");
  CHECK(with_unigram(json::array({json::array({"a", -1})}), 1) ==
        "model.unk_id: expected an id below 1, found 1");
  const auto with_charsmap = [&](const std::string& base64) {
    return wrong([&](json& j) {
      j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", base64}};
    });
  };
  CHECK(with_charsmap("A") == "normalizer.precompiled_charsmap: expected base64, found string");
  CHECK(with_charsmap("AAAA") == "the precompiled charsmap is too short");
  CHECK(with_charsmap("AAEAAAAA") ==
        "the precompiled charsmap does not hold the trie that it announces");
  CHECK(wrong([](json& j) {
          j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", ""}};
        }) == "normalizer.pattern: expected a pattern that is not empty, found object");
  CHECK(
      wrong([](json& j) {
        j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "x"}};
      }) == "pre_tokenizer.prepend_scheme: expected always, first or never, found string");
  CHECK(wrong([](json& j) { j["post_processor"]["single"].erase(1); }) ==
        "the frame does not hold each text once and in order");
  CHECK(wrong([](json& j) { j["post_processor"]["pair"][3]["Sequence"]["id"] = "C"; }) ==
        "post_processor.pair[3].Sequence.id: expected A or B, found string");
}

TEST_CASE("every wrong type is an error that names file and key") {
  const auto wrong = [](auto change) {
    const Refusal result = refusal_after(change);
    CHECK(result.code == ErrorCode::invalid_input);
    return result.message;
  };
  CHECK(wrong([](json& j) { j["normalizer"]["lowercase"] = "yes"; }) ==
        "tokenizer.json: normalizer.lowercase: expected true or false, found string");
  CHECK(wrong([](json& j) {
          j["model"]["vocab"] = {1, 2};
        }) == "tokenizer.json: model.vocab: expected an object, found array");
  CHECK(wrong([](json& j) { j["model"]["vocab"]["the"] = -1; }) ==
        "tokenizer.json: model.vocab.the: expected an integer from 0 up, found number");
  CHECK(wrong([](json& j) { j["model"]["vocab"]["the"] = 2; }) ==
        "tokenizer.json: model.vocab: id 2 belongs to '[CLS]' and to 'the'");
  CHECK(wrong([](json& j) { j["model"]["vocab"]["the"] = 4'000'000'000u; }) ==
        "tokenizer.json: model.vocab: id 2147483647 is too large for 9 pieces");
  CHECK(wrong([](json& j) { j["model"]["vocab"].erase("[UNK]"); }) ==
        "tokenizer.json: special token '[UNK]' is not in the vocabulary");
  CHECK(wrong([](json& j) { j["model"]["max_input_chars_per_word"] = 0; }) ==
        "tokenizer.json: expected at least 1 character per word, found 0");
  CHECK(wrong([](json& j) { j["model"]["unk_token"] = 1; }) ==
        "tokenizer.json: model.unk_token: expected a string, found number");
  CHECK(wrong([](json& j) { j["added_tokens"] = "[MASK]"; }) ==
        "tokenizer.json: added_tokens: expected an array, found string");
  CHECK(wrong([](json& j) { j["added_tokens"][1].erase("id"); }) ==
        "tokenizer.json: added_tokens[1].id: expected an integer from 0 up, found nothing");
  CHECK(wrong([](json& j) { j["added_tokens"][1]["id"] = 6; }) ==
        "tokenizer.json: added token '[MASK]': expected id 4 as in the vocabulary, found 6");
  CHECK(wrong([](json& j) { j["pre_tokenizer"] = 1; }) ==
        "tokenizer.json: pre_tokenizer: expected an object, found number");
  CHECK(wrong([](json& j) { j["post_processor"]["special_tokens"]["[SEP]"]["ids"] = {5}; }) ==
        "tokenizer.json: post_processor: expected id 3 for '[SEP]', found 5");
  CHECK(wrong([](json& j) {
          j["post_processor"]["special_tokens"]["[SEP]"]["ids"] = {3, 3};
        }) ==
        "tokenizer.json: post_processor.special_tokens.[SEP].tokens: expected a token for each id, "
        "found array");
  CHECK(wrong([](json& j) { j["post_processor"]["single"][0] = 7; }) ==
        "tokenizer.json: post_processor.single[0].Sequence.id: expected a string, found nothing");
  CHECK(wrong([](json& j) {
          j["post_processor"] = {{"type", "BertProcessing"}, {"cls", {"[CLS]"}}};
        }) == "tokenizer.json: post_processor.cls: expected a token and its id, found array");
  CHECK(wrong([](json& j) { j = json::array(); }) == "tokenizer.json: expected a JSON object");
}

TEST_CASE("files that are no JSON, too deep or cut short are refused") {
  const Folder folder;
  const std::string whole = tokenizer_json().dump();
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, whole.size() / 2, whole.size() - 1}) {
    folder.write("tokenizer.json", whole.substr(0, size));
    CHECK(refusal(folder).message.starts_with("tokenizer.json: expected JSON; column "));
  }
  folder.write("tokenizer.json", std::string(1'000'000, '['));
  CHECK(refusal(folder).message == "tokenizer.json: nested deeper than 64");
  std::string many = "[0";
  for (int i = 0; i < 5'000'000; ++i)
    many += ",0";
  folder.write("tokenizer.json", many + "]");
  CHECK(refusal(folder).message == "tokenizer.json: more than 4194304 values");
  // Brackets within strings do not nest.
  json document = tokenizer_json();
  document["comment"] = std::string(100, '[') + "\"\\";
  folder.write("tokenizer.json", document.dump());
  CHECK(load(folder).encode("the").ids == Ids{2, 5, 3});
}

TEST_CASE("files of a tokenizer may be links within the folder and into a cache, not elsewhere") {
  namespace fs = std::filesystem;
  const testing::TempFolder place;
  const fs::path model = place / "cache" / "snapshots" / "revision";
  fs::create_directories(model / "sub");
  fs::create_directories(place / "cache" / "blobs");
  fs::create_directories(place / "elsewhere");
  const std::string whole = tokenizer_json().dump();
  for (const fs::path& file : {place / "cache" / "blobs" / "abc", place / "elsewhere" / "t.json",
                               model / "sub" / "t.json", place / "cache" / "t.json"}) {
    std::ofstream(file) << whole;
  }
  const auto linked_to = [&](const fs::path& target) {
    fs::remove(model / "tokenizer.json");
    fs::create_symlink(target, model / "tokenizer.json");
    return load_tokenizer(model);
  };
  CHECK(linked_to("sub/t.json"));
  CHECK(linked_to("../../blobs/abc"));
  for (const fs::path& target : {fs::path("../../t.json"), fs::path("../../../elsewhere/t.json"),
                                 place / "elsewhere" / "t.json", fs::path("/proc/self/environ")}) {
    INFO(target);
    const auto tokenizer = linked_to(target);
    REQUIRE_FALSE(tokenizer);
    CHECK(tokenizer.error().code() == ErrorCode::invalid_input);
    CHECK(tokenizer.error().message().find("leads out of the model's folder") != std::string::npos);
  }
}

TEST_CASE("any byte of a tokenizer.json may be changed without harm") {
  const Folder folder;
  const std::string whole = tokenizer_json().dump();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = i % 2 == 0 ? '}' : static_cast<char>(changed[i] ^ 0x80);
    folder.write("tokenizer.json", changed);
    const auto tokenizer = load_tokenizer(folder.path());
    // Without its post_processor, for one, it has no frame.
    if (tokenizer) CHECK_FALSE((*tokenizer)->encode("the").ids.empty());
  }
}

TEST_CASE("a tokenizer_config.json that is wrong is refused with its key") {
  const auto wrong = [](std::string_view config) {
    const Folder folder;
    folder.write("tokenizer.json", tokenizer_json().dump());
    folder.write("tokenizer_config.json", config);
    return refusal(folder).message;
  };
  CHECK(wrong("{\"model_max_length\": \"512\"}") ==
        "tokenizer_config.json: model_max_length: expected a number, found string");
  CHECK(wrong("{\"model_max_length\": 2}") ==
        "tokenizer_config.json: model_max_length: expected at least 3 tokens, found 2");
  CHECK(wrong("{\"model_max_length\": -1e30}") ==
        "tokenizer_config.json: model_max_length: expected at least 3 tokens, found -1e+30");
  CHECK(wrong("{\"truncation_side\": \"left\"}") ==
        "tokenizer_config.json: truncation_side 'left' is not supported; supported: right");
  CHECK(wrong("nonsense") == "tokenizer_config.json: expected JSON; column 2 is wrong");
  CHECK(wrong("{\"mask_token\": 3}") ==
        "tokenizer.json: mask_token.content: expected a string, found nothing");
}

TEST_CASE("a vocab.txt makes an uncased tokenizer unless its configuration says otherwise") {
  const Folder folder;
  folder.write("vocab.txt", kVocabulary);
  const text::Tokenizer plain = load(folder);
  CHECK(plain.encode("The caf\u00e9 [MASK] [mask]").ids == Ids{2, 5, 6, 7, 4, 1, 1, 1, 3});
  CHECK(plain.settings().added_tokens.size() == 5);
  CHECK(plain.settings().max_length == 512);

  folder.write(
      "tokenizer_config.json",
      "{\"do_lower_case\": false, \"tokenize_chinese_chars\": false, \"model_max_length\": 9}");
  const text::Tokenizer cased = load(folder);
  CHECK(cased.encode("The the").ids == Ids{2, 8, 5, 3});
  CHECK_FALSE(cased.settings().normalizes(text::NormalizerStep::Kind::strip_marks));
  CHECK_FALSE(cased.settings().normalizes(text::NormalizerStep::Kind::separate_chinese));
  CHECK(cased.settings().max_length == 9);

  folder.write("tokenizer_config.json", "{\"strip_accents\": false}");
  CHECK(load(folder).encode("caf\u00e9").ids == Ids{2, 1, 3});
}

TEST_CASE("lines of a vocab.txt may end in CR LF, and empty ones take an id") {
  const Folder folder;
  folder.write("vocab.txt", "[UNK]\r\n[CLS]\r\n[SEP]\r\n\r\nthe\r\nthe");
  const text::Tokenizer tokenizer = load(folder);
  CHECK(tokenizer.vocabulary().size() == 6);
  CHECK(tokenizer.encode("the").ids == Ids{1, 5, 2});  // of equal pieces the last counts
}

TEST_CASE("special tokens of other names are found, as strings or objects") {
  const Folder folder;
  folder.write("vocab.txt", "<unk>\n<s>\n</s>\n<m>\n<extra>\nthe\n");
  CHECK(refusal(folder).message == "vocab.txt: special token '[CLS]' is not in the vocabulary");
  folder.write(
      "special_tokens_map.json",
      R"({"unk_token": "<unk>", "cls_token": {"content": "<s>"}, "sep_token": "nothing"})");
  folder.write(
      "tokenizer_config.json",
      R"({"sep_token": "</s>", "additional_special_tokens": ["<extra>"], "added_tokens_decoder":
                   {"3": {"content": "<m>", "lstrip": true, "special": true}}})");
  folder.write("added_tokens.json", R"({"<new>": 6})");
  const text::Tokenizer tokenizer = load(folder);
  CHECK(tokenizer.encode("the <m><extra><NEW>").ids == Ids{1, 5, 3, 4, 6, 2});
  CHECK(tokenizer.encode("the <m>").offsets[2] == text::Offset{3, 7});
}

TEST_CASE("side files of a vocab.txt that are wrong are refused") {
  const auto wrong = [](const std::string& name, std::string_view content) {
    const Folder folder;
    folder.write("vocab.txt", kVocabulary);
    folder.write(name, content);
    return refusal(folder).message;
  };
  CHECK(wrong("tokenizer_config.json", R"({"tokenizer_class": "BertJapaneseTokenizer"})")
            .starts_with("vocab.txt: tokenizer class 'BertJapaneseTokenizer' is not supported"));
  CHECK(wrong("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "y"}}})") ==
        "vocab.txt: added_tokens_decoder: 'x' is not an id");
  CHECK(wrong("tokenizer_config.json", R"({"added_tokens_decoder": []})") ==
        "vocab.txt: added_tokens_decoder: expected an object, found array");
  CHECK(wrong("tokenizer_config.json", R"({"additional_special_tokens": ["<x>"]})") ==
        "vocab.txt: additional_special_tokens[0]: '<x>' is not in the vocabulary");
  CHECK(wrong("tokenizer_config.json", R"({"extra_special_tokens": {"image": "<x>"}})") ==
        "vocab.txt: extra_special_tokens[0]: '<x>' is not in the vocabulary");
  CHECK(wrong("added_tokens.json", R"({"<x>": "7"})") ==
        "vocab.txt: <x>: expected an integer from 0 up, found string");
  CHECK(wrong("added_tokens.json", R"({"<x>": 5})") ==
        "vocab.txt: added token '<x>': id 5 is taken or out of range");
  CHECK(wrong("vocab.txt", "[UNK]\n\xff\n") == "vocab.txt: piece 1 is not UTF-8");
  CHECK(wrong("vocab.txt", "") == "vocab.txt: special token '[CLS]' is not in the vocabulary");
}

TEST_CASE("a saved tokenizer is read back the same, from either file") {
  const Folder from;
  json document = tokenizer_json();
  document["added_tokens"].push_back({{"id", 9},
                                      {"content", "New \u00c9"},
                                      {"special", false},
                                      {"single_word", true},
                                      {"lstrip", true},
                                      {"rstrip", false},
                                      {"normalized", true}});
  document["model"]["vocab"]["a\"\\\t"] = 11;  // and a gap
  from.write("tokenizer.json", document.dump());
  from.write("tokenizer_config.json", "{\"model_max_length\": 33}");
  const text::Tokenizer before = load(from);

  const Folder to;
  REQUIRE(save_tokenizer(before, to.path()));
  const text::Tokenizer after = load(to);
  CHECK(after.settings() == before.settings());
  CHECK(after.vocabulary().text() == before.vocabulary().text());
  CHECK(after.serialize() == before.serialize());

  std::filesystem::remove(to.path() / "tokenizer.json");
  const text::Tokenizer from_lines = load(to);
  CHECK(from_lines.vocabulary().text() == before.vocabulary().text());
  const std::string text = "The caf\u00e9 new e\u0301 the [MASK] newest";
  CHECK(from_lines.encode(text).ids == before.encode(text).ids);
  CHECK(from_lines.settings().max_length == 33);
}

TEST_CASE("a tokenizer without a length limit is saved as one") {
  const std::vector<std::string> pieces = {"[UNK]", "[CLS]", "[SEP]"};
  const auto tokenizer = text::Tokenizer::create(pieces, text::WordPieceSettings{.max_length = 0});
  REQUIRE(tokenizer);
  const Folder folder;
  REQUIRE(save_tokenizer(*tokenizer, folder.path()));
  CHECK(load(folder).settings().max_length == 512);
}

TEST_CASE("a tokenizer that cannot be saved says why") {
  const std::vector<std::string> pieces = {"[UNK]", "[CLS]", "[SEP]", "a\nb"};
  const auto tokenizer = text::Tokenizer::create(pieces, text::WordPieceSettings{});
  REQUIRE(tokenizer);
  const Folder folder;
  const auto result = save_tokenizer(*tokenizer, folder.path());
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::unsupported);
  CHECK(result.error().message() == "piece 3 holds a line end, which vocab.txt cannot hold");
  const std::vector<std::string> fine = {"[UNK]", "[CLS]", "[SEP]"};
  CHECK(save_tokenizer(*text::Tokenizer::create(fine, text::WordPieceSettings{}),
                       folder.path() / "absent")
            .error()
            .code() == ErrorCode::io);
}

TEST_CASE("real model folders load") {
  for (const std::string name : {"demo-snips", "minilm-snips", "minilm-banking77"}) {
    const auto folder = testing::shared_file("models/" + name);
    if (!folder) {
      WARN("skipped: no models/" << name << " in the shared files");
      continue;
    }
    const auto tokenizer = load_tokenizer(*folder);
    REQUIRE(tokenizer);
    REQUIRE(tokenizer->has_value());
    CHECK((*tokenizer)->settings().max_length == (name == "demo-snips" ? 256 : 512));
    const text::Encoding encoding = (*tokenizer)->encode("play [MASK] by Westbam");
    CHECK(encoding.ids.front() == (*tokenizer)->class_id());
    CHECK(encoding.ids[2] == (*tokenizer)->id_of("[MASK]"));
  }
}

}  // namespace
}  // namespace rtai::tools

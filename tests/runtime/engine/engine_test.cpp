#include "runtime/engine/engine.h"

#include "libopt/lower/lower.h"
#include "runtime/base/digest.h"
#include "runtime/engine/format.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstring>

namespace rtai::engine {
namespace {

Engine small_engine() {
  Engine engine = lower(testing::make_int8_model(
                            {.layers = 1, .hidden = 16, .heads = 2, .head_dim = 8, .ffn = 32}))
                      .value();
  engine.labels = {"O", "B-artist", "I-artist", "B-album", "I-album"};
  engine.metadata = {{"task", "token-classification"}, {"rtai_version", "0.1.0"}};
  static const std::vector<std::byte> tokenizer(100, std::byte{7});
  engine.tokenizer = tokenizer;
  return engine;
}

/// Bytes on a 64-byte boundary, as a mapped file has them.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::span<const std::byte> bytes)
      : storage_(bytes.size() + 64), size_(bytes.size()) {
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    begin_ = (64 - address % 64) % 64;
    std::memcpy(storage_.data() + begin_, bytes.data(), size_);
  }
  std::span<std::byte> span() { return std::span(storage_).subspan(begin_, size_); }

 private:
  std::vector<std::byte> storage_;
  std::size_t begin_ = 0;
  std::size_t size_;
};

Result<Engine> parse_copy(std::span<const std::byte> bytes, Verify level = Verify::checksums) {
  auto copy = std::make_shared<AlignedBytes>(bytes);
  return parse(copy->span(), copy, level);
}

TEST_CASE("an engine is read back as it was written") {
  const Engine engine = small_engine();
  const std::vector<std::byte> bytes = serialize(engine).value();
  const Result<Engine> read = parse_copy(bytes, Verify::digests);
  REQUIRE(read);
  CHECK(read->program == engine.program);
  CHECK(std::equal(read->weights.begin(), read->weights.end(), engine.weights.begin(),
                   engine.weights.end()));
  CHECK(read->labels == engine.labels);
  CHECK(read->metadata == engine.metadata);
  CHECK(std::equal(read->tokenizer.begin(), read->tokenizer.end(), engine.tokenizer.begin(),
                   engine.tokenizer.end()));
  CHECK(read->file_bytes == bytes.size());
}

TEST_CASE("equal engines give equal bytes") {
  CHECK(serialize(small_engine()).value() == serialize(small_engine()).value());
}

TEST_CASE("a saved engine opens by name, and a second save replaces the first") {
  const testing::TempFolder folder;
  const auto path = folder.path() / "model.rtai";
  REQUIRE(save(small_engine(), path));
  Engine changed = small_engine();
  changed.labels[0] = "nothing";
  REQUIRE(save(changed, path));
  const Result<Engine> opened = open(path, Verify::digests);
  REQUIRE(opened);
  CHECK(opened->labels[0] == "nothing");
  CHECK(folder.names() == std::vector<std::string>{"model.rtai"});
}

TEST_CASE("an engine that is read is the one that is opened, and outlives its file") {
  const testing::TempFolder folder;
  const auto path = folder.path() / "model.rtai";
  REQUIRE(save(small_engine(), path));
  const std::vector<std::byte> bytes = serialize(small_engine()).value();
  const Result<Engine> read = engine::read(path, Verify::digests);
  REQUIRE(read);
  std::filesystem::resize_file(path, 0);
  CHECK(serialize(*read).value() == bytes);
  const Result<Engine> empty = engine::read(path);
  REQUIRE_FALSE(empty);
  CHECK(empty.error().message() == open(path).error().message());
  CHECK(engine::read(folder.path() / "nothing").error().code() == ErrorCode::not_found);
  // No engine, and more than fits into memory: not read.
  std::filesystem::resize_file(path, std::uintmax_t{1} << 40);
  CHECK(engine::read(path).error().code() == ErrorCode::invalid_input);
}

TEST_CASE("a change of any bit is noticed") {
  std::vector<std::byte> bytes = serialize(small_engine()).value();
  // Every bit of header, tables and program; one bit of every seventh byte of the rest.
  const std::size_t tables = 64 + 6 * 64 + 4096;
  for (std::size_t at = 0; at < bytes.size(); at += at < tables ? 1 : 7) {
    for (int bit = 0; bit < (at < tables ? 8 : 1); ++bit) {
      const std::byte flip{
          static_cast<std::uint8_t>(1u << (at < tables ? bit : static_cast<int>(at % 8)))};
      bytes[at] ^= flip;
      const Result<Engine> read = parse_copy(bytes);
      INFO("byte " << at << " bit " << bit);
      REQUIRE_FALSE(read);
      bytes[at] ^= flip;
    }
  }
}

TEST_CASE("of several changed blocks of large weights the first is named, whoever found it") {
  // Enough blocks for several threads.
  const Engine engine =
      lower(testing::make_model(
                {.layers = 1, .hidden = 512, .heads = 2, .ffn = 512, .vocabulary = 12000}))
          .value();
  REQUIRE(engine.weights.size() > 20 * 1024 * 1024);
  std::vector<std::byte> bytes = serialize(engine).value();
  REQUIRE(parse_copy(bytes));
  const auto weights =
      static_cast<std::size_t>(std::search(bytes.begin(), bytes.end(), engine.weights.begin(),
                                           engine.weights.begin() + 4096) -
                               bytes.begin());
  for (const std::size_t block : {300, 250, 40}) {
    bytes[weights + block * kChecksumBlock + 7] ^= std::byte{1};
    const Result<Engine> read = parse_copy(bytes);
    REQUIRE_FALSE(read);
    CHECK(read.error().code() == ErrorCode::corrupt);
    CHECK_THAT(read.error().message(),
               Catch::Contains("bytes " + std::to_string(block * kChecksumBlock) + " to"));
  }
}

TEST_CASE("a file cut anywhere, or with something behind it, is refused") {
  std::vector<std::byte> bytes = serialize(small_engine()).value();
  for (std::size_t size = 0; size < bytes.size(); size += size < 1000 ? 1 : 97) {
    const Result<Engine> read = parse_copy(std::span(bytes).first(size));
    INFO("cut at " << size);
    REQUIRE_FALSE(read);
  }
  bytes.resize(bytes.size() + 64);
  CHECK_FALSE(parse_copy(bytes));
}

TEST_CASE("what is no engine, or one of another version, is said so") {
  std::vector<std::byte> bytes = serialize(small_engine()).value();
  const std::string text =
      "this is not an engine at all, but long enough to be one, is it not? yes it is";
  const Result<Engine> not_engine = parse_copy(std::as_bytes(std::span(text)));
  REQUIRE_FALSE(not_engine);
  CHECK(not_engine.error().code() == ErrorCode::invalid_input);
  CHECK(not_engine.error().message() == "not an rtai engine file");
  bytes[8] = std::byte{3};
  const Result<Engine> newer = parse_copy(bytes);
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code() == ErrorCode::unsupported);
  CHECK(
      newer.error().message() ==
      "engine format version 3, this rtai reads 1 and 2; make the engine again from its model with "
      "this rtai");
}

/// Writes the digests anew, so that only the structure can give the change away.
void repair_digests(std::span<std::byte> file) {
  Header header{};
  std::memcpy(&header, file.data(), sizeof header);
  for (std::uint32_t i = 0; i < header.section_count; ++i) {
    SectionEntry entry{};
    std::byte* place = file.data() + sizeof(Header) + i * sizeof(SectionEntry);
    std::memcpy(&entry, place, sizeof entry);
    if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset) return;
    entry.digest = sha256(file.subspan(entry.offset, entry.bytes));
    std::memcpy(place, &entry, sizeof entry);
  }
  header.digest = {};
  Sha256 hash;
  hash.update(std::as_bytes(std::span(&header, 1)));
  hash.update(file.subspan(sizeof(Header), header.section_count * sizeof(SectionEntry)));
  header.digest = hash.finish();
  std::memcpy(file.data(), &header, sizeof header);
}

TEST_CASE("a forged program with right digests is refused or harmless") {
  const std::vector<std::byte> original = serialize(small_engine()).value();
  std::uint64_t program_offset = 0;
  std::uint64_t program_bytes = 0;
  std::memcpy(&program_offset, original.data() + 64 + 8, 8);
  std::memcpy(&program_bytes, original.data() + 64 + 16, 8);
  int accepted = 0;
  for (std::uint64_t at = 0; at < program_bytes; ++at) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::vector<std::byte> forged = original;
      forged[program_offset + at] = static_cast<std::byte>(value);
      repair_digests(forged);
      const Result<Engine> read = parse_copy(forged);
      if (!read) continue;
      ++accepted;
      REQUIRE(verify(read->program, read->weights.size()));
    }
  }
  CHECK(accepted > 0);  // names and numbers such as epsilon may change
}

TEST_CASE("verify names the step and what does not fit") {
  const Engine engine = small_engine();
  const auto refuse = [&](auto&& change) {
    Program program = engine.program;
    change(program);
    const auto status = verify(program, engine.weights.size());
    REQUIRE_FALSE(status);
    CHECK(status.error().code() == ErrorCode::corrupt);
    return status.error().message();
  };
  CHECK(refuse([](Program& p) { p.steps[1].src[0] = 99; }) ==
        "step 1: uses a value that is not made yet");
  CHECK(refuse([](Program& p) { p.steps[2].tensors[0] = 1000; }) ==
        "step 2: uses a tensor that does not exist");
  CHECK(refuse([](Program& p) { p.steps[3].heads = 3; }) == "step 3: qkv does not fit the heads");
  CHECK(refuse([](Program& p) { p.steps[3].first = 4; }) == "step 3: unknown arithmetic");
  CHECK(refuse([](Program& p) { p.steps[3].op = OpKind::relative_attention; }) ==
        "step 3: relative attention in int8");
  CHECK(refuse([](Program& p) {
          p.steps[3].op = OpKind::relative_attention;
          p.steps[3].first = 0;
        }) == "step 3: impossible relative attention");
  CHECK(refuse([](Program& p) { p.outputs.clear(); }) == "no outputs");
  CHECK(refuse([](Program& p) { p.tensors[0].offset = ~std::uint64_t{63}; }) ==
        "tensor 'embedding.word': lies outside the weights");
  CHECK(refuse([](Program& p) { p.tensors[0].dims[0] = Index{1} << 40; }) ==
        "tensor 'embedding.word': impossible dimensions");
}

}  // namespace
}  // namespace rtai::engine

// Small files that ask for much memory are refused quickly, before it is taken. The program itself
// reads them; the system says what it took.
#include "tests/support/engine_parts.h"
#include "tests/support/program.h"
#include "tests/support/small_engines.h"
#include "tests/support/temp_folder.h"
#include "tests/support/wire.h"

#include <malloc.h>

#include <filesystem>
#include <fstream>

namespace rtai::testing {
namespace {

using wire::field;
using wire::repeated;
using wire::tag;
using wire::varint;

[[maybe_unused]] constexpr Index kMostBeyondFile = Index{256} << 20;
[[maybe_unused]] constexpr double kMostSeconds = 1;  // of computing: others use the machine, too

void expect_refused(const std::string& name,
                    const std::vector<std::string>& words,
                    const std::filesystem::path& file,
                    const std::vector<int>& exits) {
  const Outcome outcome = run_program(words);
  const auto bytes = static_cast<Index>(std::filesystem::file_size(file));
  INFO(name << ", " << bytes << " bytes: exit " << outcome.exit << ", signal " << outcome.signal
            << ", " << outcome.peak_bytes / (1 << 20) << " MiB, " << outcome.cpu_seconds
            << " s: " << outcome.errors);
  CHECK(std::count(exits.begin(), exits.end(), outcome.exit) == 1);
#ifdef RTAI_IS_OPTIMIZED  // and without sanitizers, which take time and memory of their own
  CHECK(outcome.peak_bytes < bytes + kMostBeyondFile);
  CHECK(outcome.cpu_seconds < kMostSeconds);
#endif
}

std::string model_with(const std::string& graph) {
  return tag(1, 0) + varint(8) + field(8, field(1, "") + tag(2, 0) + varint(17)) + field(7, graph);
}

TEST_CASE("ONNX files that ask for much memory are refused at once") {
  constexpr std::size_t kTimes = 5'000'000;  // of two bytes
  std::string dims;
  for (int i = 0; i < 4; ++i)
    dims += tag(1, 0) + varint(std::uint64_t{1} << 40);
  std::string deep;
  for (int depth = 0; depth < 10'000; ++depth)
    deep = field(1, field(5, field(6, deep)));
  // A node that makes 2^40 numbers of a shape of 16 bytes.
  const auto tensor = [](std::uint64_t type, const std::string& more) {
    return tag(2, 0) + varint(type) + more;
  };
  const std::string shape = field(
      5,
      tensor(7, tag(1, 0) + varint(1) + field(7, varint(std::uint64_t{1} << 40)) + field(8, "s")));
  const auto input = [](const std::string& name) {
    return field(
        11,
        field(1, name) +
            field(2, field(1, tag(1, 0) + varint(7) +
                                  field(2, field(1, field(2, "b")) + field(1, field(2, "n"))))));
  };
  const std::string made =
      model_with(field(1, field(1, "s") + field(2, "y") + field(4, "ConstantOfShape")) + shape +
                 input("ids") + field(12, field(1, "y")));
  const auto size = [](Index n) {
    return field(1, tag(1, 0) + varint(static_cast<std::uint64_t>(n)));
  };
  // The scores of 64 sequences of 1024 positions, 256 MiB.
  const auto node = [](const std::string& op, const std::string& names) {
    return field(1, names + field(4, op));
  };
  const std::string turn = field(5, field(1, "perm") + tag(8, 0) + varint(0) + tag(8, 0) +
                                        varint(2) + tag(8, 0) + varint(1) + tag(20, 0) + varint(7));
  const std::string scores = model_with(
      node("Transpose", field(1, "x") + field(2, "t") + turn) +
      node("MatMul", field(1, "x") + field(1, "t") + field(2, "s")) +
      node("Softmax", field(1, "s") + field(2, "p")) +
      node("MatMul", field(1, "p") + field(1, "x") + field(2, "y")) +
      field(11, field(1, "x") + field(2, field(1, tag(1, 0) + varint(1) +
                                                      field(2, size(64) + size(1024) + size(4))))) +
      field(12, field(1, "y")));
  // Hidden states [b, n, width] that one softmax reads.
  const auto wide_input = [size](Index batch, Index width) {
    const std::string sizes = size(batch) + field(1, field(2, "n")) + size(width);
    return model_with(
        field(1, field(1, "x") + field(2, "y") + field(4, "Softmax")) +
        field(11, field(1, "x") + field(2, field(1, tag(1, 0) + varint(1) + field(2, sizes)))) +
        field(12, field(1, "y")));
  };
  std::vector<std::pair<std::string, std::string>> bombs = {
      {"hidden states of 2^40 columns", wide_input(2, Index{1} << 40)},
      {"hidden states of 2^20 sequences and 2^16 columns", wide_input(1 << 20, 1 << 16)},
      {"scores of 64 sequences of 1024 positions", scores},
      {"nodes", model_with(repeated(field(1, ""), kTimes))},
      {"tensors", model_with(repeated(field(5, ""), kTimes))},
      {"names", model_with(field(1, repeated(field(1, ""), kTimes)))},
      {"texts", model_with(field(5, repeated(field(6, ""), kTimes)))},
      {"attributes", model_with(field(1, repeated(field(5, ""), kTimes)))},
      {"inputs", model_with(repeated(field(11, ""), kTimes))},
      {"sparse tensors", model_with(repeated(field(15, ""), kTimes))},
      {"functions", repeated(field(25, ""), kTimes)},
      {"metadata", repeated(field(14, ""), kTimes)},
      {"unknown fields", repeated(tag(9999, 0) + varint(1), kTimes / 2)},
      {"packed numbers", model_with(field(5, field(7, std::string(10'000'000, '\1'))))},
      {"dimensions of 2^40", model_with(field(5, dims + tag(2, 0) + varint(1) + field(8, "w")))},
      {"a dimension of 2^40", model_with(field(5, tag(1, 0) + varint(std::uint64_t{1} << 40) +
                                                      tag(2, 0) + varint(1) + field(8, "w")))},
      {"a byte of 2^40 numbers of two bits",
       model_with(field(5, tag(1, 0) + varint(std::uint64_t{1} << 40) + tag(2, 0) + varint(26) +
                               field(8, "w") + field(9, "a")))},
      {"depth 10,000", model_with(deep)},
      {"a length of 4 GiB", tag(7, 2) + varint(0xffffffff)},
      {"a node that makes 2^40 numbers", made},
  };
  const TempFolder folder;
  std::vector<std::string> names;
  for (const auto& [name, bytes] : bombs) {
    std::ofstream(folder / (name + ".onnx"), std::ios::binary) << bytes;
    names.push_back(name);
  }
  // The system counts what this process holds when it starts the program.
  bombs.clear();
  ::malloc_trim(0);
  for (const std::string& name : names) {
    const auto path = folder / (name + ".onnx");
    expect_refused(name, {"inspect", path.string()}, path, {3, 4});
  }
}

TEST_CASE("engines that ask for much memory are refused at once") {
  const std::vector<std::byte> good = small_encoder_file();
  const TempFolder folder;
  const auto path = folder / "model.rtai";
  const auto expect = [&](const std::string& name, const std::vector<std::byte>& bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    expect_refused(name, {"run", path.string(), "a"}, path, {5});
  };
  // Every number of the program, labels, facts and tokenizer as 2^32 - 1.
  const EngineParts parts = take_apart(good).value();
  for (const std::size_t s : {std::size_t{3}, std::size_t{4}, std::size_t{5}}) {
    EngineParts changed = parts;
    std::fill_n(changed.sections[s].bytes.begin(), 4, std::byte{0xff});
    expect("a count of 2^32 - 1 in section " + std::to_string(changed.sections[s].kind),
           put_together(changed));
  }
  // Ten megabytes of empty texts, and of values.
  EngineParts labels = parts;
  labels.sections[4].bytes.assign(10'000'000, std::byte{0});
  const std::uint32_t count = 10'000'000 / 4 - 1;
  std::memcpy(labels.sections[4].bytes.data(), &count, sizeof count);
  expect("2.5 million labels", put_together(labels));
  EngineParts values = parts;
  values.sections[0].bytes.assign(10'000'000, std::byte{0});
  const std::uint32_t value_count = 10'000'000 / 8 - 1;
  std::memcpy(values.sections[0].bytes.data(), &value_count, sizeof value_count);
  expect("1.25 million values", put_together(values));
}

TEST_CASE("JSON files and texts that ask for much memory are refused at once") {
  const TempFolder folder;
  const auto model = folder / "model.onnx";
  std::ofstream(model) << "x";
  constexpr std::size_t kBytes = 10'000'000;
  const std::vector<std::pair<std::string, std::string>> bombs = {
      {"depth", std::string(kBytes, '[')},
      {"lists", "[" + repeated("[],", kBytes / 3) + "0]"},
      {"objects", "[" + repeated("{},", kBytes / 3) + "0]"},
      {"texts", "[" + repeated("\"\",", kBytes / 3) + "0]"},
      {"numbers", "[" + repeated("1,", kBytes / 2) + "0]"},
      {"members", "{" + repeated("\"a\":0,", kBytes / 6) + "\"b\":0}"},
      {"a text without an end", "[\"" + std::string(kBytes, 'a')},
  };
  for (const auto& [name, bytes] : bombs) {
    for (const char* file : {"config.json", "tokenizer.json", "modules.json"}) {
      const auto path = folder / file;
      std::ofstream(path) << bytes;
      expect_refused(std::string(file) + ": " + name, {"inspect", folder.path().string()}, path,
                     {3});
      std::filesystem::remove(path);
    }
  }
}

}  // namespace
}  // namespace rtai::testing

// Malformed engine files of every kind: each is refused with its exit code and a message that names
// the place. The program itself reads them. Where digests would give a change away they are right.
#include "runtime/engine/packed_weights.h"
#include "runtime/engine/program_section.h"
#include "tests/support/engine_parts.h"
#include "tests/support/small_engines.h"
#include "tests/support/temp_folder.h"
#include "tests/tools/hostile/malformed.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>

namespace rtai::testing {
namespace {

using engine::Header;
using engine::kNone;
using engine::OpKind;
using engine::Program;
using engine::SectionEntry;
using engine::SectionKind;
using Bytes = std::vector<std::byte>;

constexpr int kNoEngine = 3;  // exit codes: cli.cpp
constexpr int kUnsupported = 4;
constexpr int kCorrupt = 5;

using Kind = Malformed<Bytes>;

class Kinds {
 public:
  void add(std::string name, Bytes bytes, int exit, std::string message) {
    kinds_.push_back({std::move(name), std::move(bytes), exit, std::move(message)});
  }

  /// Header and table changed, then sealed.
  void table(std::string name,
             const std::function<void(Header&, std::span<SectionEntry>)>& change,
             std::string message,
             int exit = kCorrupt) {
    Bytes file = good_;
    Header header{};
    std::memcpy(&header, file.data(), sizeof header);
    std::vector<SectionEntry> entries(header.section_count);
    const std::size_t table_bytes = entries.size() * sizeof(SectionEntry);
    std::memcpy(entries.data(), file.data() + sizeof header, table_bytes);
    change(header, entries);
    std::memcpy(file.data(), &header, sizeof header);
    std::memcpy(file.data() + sizeof header, entries.data(), table_bytes);
    seal_header(file, static_cast<std::uint32_t>(entries.size()));
    add(std::move(name), std::move(file), exit, std::move(message));
  }

  void parts(std::string name,
             const std::function<void(EngineParts&)>& change,
             std::string message) {
    EngineParts parts = take_apart(good_).value();
    change(parts);
    add(std::move(name), put_together(parts), kCorrupt, std::move(message));
  }

  /// Bytes of one section.
  void section(std::string name,
               SectionKind kind,
               const std::function<void(Bytes&)>& change,
               std::string message) {
    parts(
        std::move(name), [&](EngineParts& p) { change(*p.find(kind)); }, std::move(message));
  }

  void program(std::string name, const std::function<void(Program&)>& change, std::string message) {
    of_program(good_, std::move(name), change, std::move(message));
  }
  /// Of the engine with the operators that encoders lack.
  void rows(std::string name, const std::function<void(Program&)>& change, std::string message) {
    of_program(small_rows_file(), std::move(name), change, std::move(message));
  }

  /// Of the engine with weights of 4 bits: its program as it stands in the file, and its weights.
  void packed(std::string name,
              const std::function<void(Program&, Bytes&)>& change,
              std::string message,
              std::uint32_t version = engine::kPackedFormatVersion) {
    const Bytes file = small_int4_file();
    EngineParts parts = take_apart(file).value();
    parts.version = version;
    Program program = parse_copy(file).value().program;
    engine::place_tensors(program, engine::Place::file).value();
    Bytes& weights = *parts.find(SectionKind::weights);
    change(program, weights);
    *parts.find(SectionKind::program) = engine::write_program(program);
    *parts.find(SectionKind::checksums) = checksums_of(weights);
    add(std::move(name), put_together(parts), kCorrupt, std::move(message));
  }

  const Bytes& good() const { return good_; }
  const std::vector<Kind>& all() const { return kinds_; }

 private:
  void of_program(const Bytes& file,
                  std::string name,
                  const std::function<void(Program&)>& change,
                  std::string message) {
    EngineParts parts = take_apart(file).value();
    Program program = parse_copy(file).value().program;
    change(program);
    *parts.find(SectionKind::program) = engine::write_program(program);
    add(std::move(name), put_together(parts), kCorrupt, std::move(message));
  }

  Bytes good_ = small_encoder_file();
  std::vector<Kind> kinds_;
};

Bytes of_text(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

void put(Bytes& bytes, std::size_t at, std::uint32_t number) {
  std::memcpy(bytes.data() + at, &number, sizeof number);
}

void add_files(Kinds& kinds) {
  const Bytes& good = kinds.good();
  const auto first = [&](std::size_t size) {
    return Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
  };
  const auto changed = [&](std::size_t at, std::byte mask) {
    Bytes file = good;
    file[at] ^= mask;
    return file;
  };
  kinds.add("empty", {}, kNoEngine, "not an rtai engine file");
  kinds.add("a text", of_text("this is not an engine"), kNoEngine, "not an rtai engine file");
  kinds.add("half a magic", first(4), kNoEngine, "not an rtai engine file");
  kinds.add("a magic alone", first(8), kCorrupt, "byte 0: 64 bytes expected, 8 left");
  kinds.add("a header cut", first(63), kCorrupt, "byte 0: 64 bytes expected, 63 left");
  kinds.add("another magic", changed(0, std::byte{1}), kCorrupt,
            "byte 0: an engine begins with other bytes");
  kinds.add("line ends changed", changed(7, std::byte{7}), kCorrupt, "byte 0: an engine begins");
  kinds.add("version 0", changed(8, std::byte{1}), kUnsupported,
            "engine format version 0, this rtai reads 1");
  kinds.add("version 3", changed(8, std::byte{2}), kUnsupported,
            "engine format version 3, this rtai reads 1");
  kinds.add(
      "the other byte order",
      [&] {
        Bytes file = good;
        put(file, 8, 0x01000000);
        return file;
      }(),
      kUnsupported, "engine format version 16777216");
  kinds.add("a header without its table", first(64), kCorrupt, "byte 16: the header says");
  kinds.add("a byte cut off", first(good.size() - 1), kCorrupt, "byte 16: the header says");
  kinds.add("half a file", first(good.size() / 2), kCorrupt, "byte 16: the header says");
  Bytes longer = good;
  longer.resize(good.size() + 1);
  kinds.add("a byte behind it", longer, kCorrupt, "byte 16: the header says");
  Bytes twice = good;
  twice.insert(twice.end(), good.begin(), good.end());
  kinds.add("an engine behind it", twice, kCorrupt, "byte 16: the header says");
  kinds.add("a digest changed", changed(24, std::byte{1}), kCorrupt,
            "byte 24: header and section table do not match their digest");
  kinds.add("a table changed", changed(80, std::byte{1}), kCorrupt, "do not match their digest");
  longer.resize(good.size() + 64);
  std::uint64_t size = longer.size();
  std::memcpy(longer.data() + 16, &size, sizeof size);
  seal_header(longer, 6);
  kinds.add("64 bytes behind it that the header counts", longer, kCorrupt,
            "bytes after the last section");
  Bytes shorter = first(good.size() - 64);
  size = shorter.size();
  std::memcpy(shorter.data() + 16, &size, sizeof size);
  seal_header(shorter, 6);
  kinds.add("64 bytes gone that the header does not count", shorter, kCorrupt,
            "section beyond the end of the file");
}

void add_tables(Kinds& kinds) {
  using Entries = std::span<SectionEntry>;
  constexpr std::uint64_t kHuge = std::uint64_t{1} << 63;
  kinds.table(
      "a size of 0", [](Header& h, Entries) { h.file_bytes = 0; },
      "byte 16: the header says 0 bytes");
  kinds.table(
      "a size of 2^63", [](Header& h, Entries) { h.file_bytes = kHuge; },
      "byte 16: the header says 9223372036854775808");
  kinds.table(
      "a reserved field used", [](Header& h, Entries) { h.reserved = 1; }, "byte 56: not zero");
  kinds.table(
      "7 sections", [](Header& h, Entries) { h.section_count = 7; },
      "byte 12: impossible number of sections");
  kinds.table(
      "2^32 - 1 sections", [](Header& h, Entries) { h.section_count = 0xffffffff; },
      "byte 12: impossible number of sections");
  kinds.table(
      "no sections", [](Header& h, Entries) { h.section_count = 0; }, "do not match their digest");
  kinds.table(
      "a kind of 0", [](Header&, Entries e) { e[0].kind = 0; }, "byte 64: unexpected section kind");
  kinds.table(
      "a kind of 7", [](Header&, Entries e) { e[5].kind = 7; },
      "byte 384: unexpected section kind");
  kinds.table(
      "a kind twice", [](Header&, Entries e) { e[4].kind = 4; },
      "byte 320: unexpected section kind");
  kinds.table(
      "kinds in another order", [](Header&, Entries e) { std::swap(e[3].kind, e[4].kind); },
      "unexpected section kind");
  kinds.table(
      "a reserved field of a section used", [](Header&, Entries e) { e[1].reserved = 1; },
      "byte 128: reserved fields are not zero");
  kinds.table(
      "the other reserved field used", [](Header&, Entries e) { e[2].reserved2 = kHuge; },
      "byte 192: reserved fields are not zero");
  kinds.table(
      "a gap", [](Header&, Entries e) { e[1].offset += 64; },
      "byte 128: sections do not follow each other");
  kinds.table(
      "an overlap", [](Header&, Entries e) { e[1].offset -= 64; },
      "byte 128: sections do not follow each other");
  kinds.table(
      "a section over the header", [](Header&, Entries e) { e[0].offset = 0; },
      "byte 64: sections do not follow each other");
  kinds.table(
      "an offset of 2^63", [](Header&, Entries e) { e[2].offset = kHuge; },
      "byte 192: sections do not follow each other");
  kinds.table(
      "an offset that is not aligned", [](Header&, Entries e) { e[1].offset += 1; },
      "byte 128: sections do not follow each other");
  kinds.table(
      "a section of 2^63 bytes", [](Header&, Entries e) { e[1].bytes = kHuge; },
      "byte 128: section beyond the end of the file");
  kinds.table(
      "a section of 2^64 - 1 bytes", [](Header&, Entries e) { e[1].bytes = ~std::uint64_t{0}; },
      "byte 128: section beyond the end of the file");
  kinds.table(
      "a section that ends behind the file",
      [](Header& h, Entries e) { e[5].bytes = h.file_bytes; },
      "byte 384: section beyond the end of the file");
  kinds.table(
      "a section longer by one padding", [](Header&, Entries e) { e[1].bytes += 64; },
      "byte 192: sections do not follow each other");
  kinds.table(
      "a section's digest changed", [](Header&, Entries e) { e[0].digest[31] ^= 1; },
      "section 1 does not match its digest");
  kinds.table(
      "the weights' digest changed", [](Header&, Entries e) { e[1].digest[0] ^= 1; },
      "section 2 does not match its digest");
  kinds.table(
      "the tokenizer's digest changed", [](Header&, Entries e) { e[3].digest[7] ^= 0x80; },
      "section 4 does not match its digest");
}

void add_sections(Kinds& kinds) {
  const auto without = [](SectionKind kind) {
    return [kind](EngineParts& p) {
      std::erase_if(p.sections, [kind](const EngineSection& s) {
        return s.kind == static_cast<std::uint32_t>(kind);
      });
    };
  };
  kinds.parts("no program", without(SectionKind::program), "section 1 is missing");
  kinds.parts("no weights", without(SectionKind::weights), "section 2 is missing");
  kinds.parts("no checksums", without(SectionKind::checksums), "section 3 is missing");
  kinds.parts(
      "no sections at all", [](EngineParts& p) { p.sections.clear(); }, "section 1 is missing");
  kinds.section(
      "a checksum too few", SectionKind::checksums, [](Bytes& b) { b.resize(b.size() - 4); },
      "checksums: one for each block");
  kinds.section(
      "a checksum too many", SectionKind::checksums, [](Bytes& b) { b.resize(b.size() + 4); },
      "checksums: one for each block");
  kinds.section(
      "half a checksum", SectionKind::checksums, [](Bytes& b) { b.resize(b.size() - 1); },
      "checksums: one for each block");
  kinds.section(
      "another checksum", SectionKind::checksums, [](Bytes& b) { b[0] ^= std::byte{1}; },
      "weights: bytes 0 to");
  kinds.section(
      "a changed weight", SectionKind::weights, [](Bytes& b) { b[100] ^= std::byte{1}; },
      "weights: bytes 0 to");
  kinds.parts(
      "weights cut, with right checksums",
      [](EngineParts& p) {
        Bytes& weights = *p.find(SectionKind::weights);
        weights.resize(64);
        *p.find(SectionKind::checksums) = checksums_of(weights);
      },
      "lies outside the weights");
  Bytes padded = kinds.good();
  padded[padded.size() - 1] = std::byte{1};
  kinds.add("padding used", padded, kCorrupt, "padding is not zero");
  constexpr std::uint32_t kAll = 0xffffffff;
  for (const auto& [kind, place] :
       {std::pair{SectionKind::labels, "labels"}, std::pair{SectionKind::metadata, "metadata"}}) {
    const std::string where = std::string(place) + ": byte 0: a count of 4294967295 does not fit";
    kinds.section(
        std::string(place) + ": a count of 2^32 - 1", kind, [](Bytes& b) { put(b, 0, kAll); },
        where);
    kinds.section(
        std::string(place) + ": a text of 2^32 - 1 bytes", kind, [](Bytes& b) { put(b, 4, kAll); },
        std::string(place) + ": byte 4: a count of 4294967295 does not fit");
    kinds.section(
        std::string(place) + ": bytes behind the end", kind,
        [](Bytes& b) { b.push_back(std::byte{0}); }, std::string(place) + ": byte");
    kinds.section(
        std::string(place) + ": cut", kind, [](Bytes& b) { b.pop_back(); },
        std::string(place) + ": byte");
  }
  kinds.section(
      "facts in another order", SectionKind::metadata, [](Bytes& b) { b[8] = std::byte{'z'}; },
      "metadata: byte");
  kinds.section(
      "a tokenizer of zeros", SectionKind::tokenizer, [](Bytes& b) { b.assign(100, std::byte{0}); },
      "tokenizer: ");
  kinds.section(
      "a tokenizer cut", SectionKind::tokenizer, [](Bytes& b) { b.resize(b.size() / 2); },
      "tokenizer: ");
  kinds.section(
      "a tokenizer with bytes behind it", SectionKind::tokenizer,
      [](Bytes& b) { b.push_back(std::byte{1}); }, "tokenizer: ");
  kinds.section(
      "an empty program", SectionKind::program, [](Bytes& b) { b.clear(); },
      "program: byte 0: 4 bytes expected, 0 left");
  kinds.section(
      "a program cut", SectionKind::program, [](Bytes& b) { b.resize(b.size() - 1); },
      "program: byte");
  kinds.section(
      "a program with bytes behind it", SectionKind::program,
      [](Bytes& b) { b.resize(b.size() + 4); }, "bytes after the end of the section");
  kinds.section(
      "2^32 - 1 values", SectionKind::program, [](Bytes& b) { put(b, 0, kAll); },
      "program: byte 0: a count of 4294967295 does not fit");
  kinds.section(
      "rows of no kind", SectionKind::program, [](Bytes& b) { b[4] = std::byte{2}; },
      "program: byte 4: unknown code 2");
  kinds.section(
      "an element type of no kind", SectionKind::program, [](Bytes& b) { b[5] = std::byte{99}; },
      "program: byte 5: unknown code 99");
  kinds.section(
      "an element type of ONNX files alone", SectionKind::program,
      [](Bytes& b) { b[5] = static_cast<std::byte>(DType::i4); },
      "program: byte 5: unknown code 19");
  kinds.section(
      "padding of a value used", SectionKind::program, [](Bytes& b) { b[6] = std::byte{1}; },
      "program: byte 6: not zero");
}

void add_values_and_tensors(Kinds& kinds) {
  kinds.program(
      "a value of no columns", [](Program& p) { p.values[2].columns = 0; },
      "value 2 is impossible");
  kinds.program(
      "a value of 2^32 - 1 columns", [](Program& p) { p.values[2].columns = 0xffffffff; },
      "value 2 is impossible");
  kinds.program(
      "a value of f64", [](Program& p) { p.values[3].dtype = DType::f64; },
      "value 3 is impossible");
  kinds.program(
      "a result of i32", [](Program& p) { p.values[3].dtype = DType::i32; },
      "value 3 is impossible");
  kinds.program(
      "more inputs than values", [](Program& p) { p.inputs.resize(p.values.size() + 1); },
      "more inputs than values");
  kinds.program(
      "an input's name of 5000 bytes", [](Program& p) { p.inputs[0] = std::string(5000, 'a'); },
      "a string of 5000 bytes, at most 4096");
  kinds.program(
      "a tensor's name of 5000 bytes",
      [](Program& p) { p.tensors[0].name = std::string(5000, 'a'); },
      "a string of 5000 bytes, at most 4096");
  kinds.program(
      "a layout of no kind",
      [](Program& p) { p.tensors[0].layout = static_cast<engine::Layout>(2); }, "unknown code 2");
  const auto tensor = [&](std::string name, const std::function<void(engine::TensorInfo&)>& change,
                          std::string message) {
    kinds.program(
        std::move(name), [&](Program& p) { change(p.tensors[0]); },
        "tensor 'embedding.word': " + message);
  };
  using Info = engine::TensorInfo;
  tensor(
      "a negative dimension", [](Info& t) { t.dims[0] = -1; }, "impossible dimensions");
  tensor(
      "a dimension of 2^40", [](Info& t) { t.dims[0] = Index{1} << 40; }, "impossible dimensions");
  tensor(
      "dimensions whose product overflows",
      [](Info& t) {
        t.dims = {Index{1} << 62, Index{1} << 62};
      },
      "impossible dimensions");
  tensor(
      "a tensor shorter than its dimensions", [](Info& t) { t.bytes -= 1; },
      "has another size than its dimensions");
  tensor(
      "a tensor of 2^64 - 1 bytes", [](Info& t) { t.bytes = ~std::uint64_t{0}; },
      "has another size than its dimensions");
  tensor(
      "a tensor that is not aligned", [](Info& t) { t.offset += 4; }, "is not aligned");
  tensor(
      "a tensor behind the weights", [](Info& t) { t.offset = std::uint64_t{1} << 40; },
      "lies outside the weights");
  tensor(
      "a tensor at 2^64 - 64", [](Info& t) { t.offset = ~std::uint64_t{63}; },
      "lies outside the weights");
  tensor(
      "panels of 8-byte elements",
      [](Info& t) { t.layout = engine::Layout::panels, t.dtype = DType::i64; },
      "element type cannot stand in panels");
  kinds.program(
      "a matrix without room behind it",
      [](Program& p) {
        for (engine::TensorInfo& t : p.tensors) {
          if (t.layout == engine::Layout::panels) t.offset += 1 << 12;
        }
      },
      "tensor '");
}

void add_steps(Kinds& kinds) {
  const auto find = [](Program& p, OpKind op) -> engine::Step& {
    return *std::find_if(p.steps.begin(), p.steps.end(),
                         [&](const engine::Step& s) { return s.op == op; });
  };
  const auto step = [&](std::string name, OpKind op,
                        const std::function<void(engine::Step&)>& change, std::string message) {
    kinds.program(
        std::move(name), [&](Program& p) { change(find(p, op)); }, std::move(message));
  };
  const auto row = [&](std::string name, OpKind op,
                       const std::function<void(engine::Step&)>& change, std::string message) {
    kinds.rows(
        std::move(name), [&](Program& p) { change(find(p, op)); }, std::move(message));
  };
  using Step = engine::Step;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  constexpr std::int32_t kLargest = std::numeric_limits<std::int32_t>::max();
  step(
      "operator 0", OpKind::linear, [](Step& s) { s.op = static_cast<OpKind>(0); },
      "unknown operator 0");
  step(
      "operator 99", OpKind::linear, [](Step& s) { s.op = static_cast<OpKind>(99); },
      "unknown code 99");
  step(
      "another operator's number", OpKind::linear, [](Step& s) { s.op = OpKind::attention; },
      "step ");
  step(
      "a function of no kind", OpKind::activation,
      [](Step& s) { s.function = static_cast<Function>(99); }, "unknown code 99");
  step(
      "an activation without a function", OpKind::activation,
      [](Step& s) { s.function = Function::none; }, "no function");
  step(
      "a source that is made later", OpKind::linear, [](Step& s) { s.src[0] = s.dst; },
      "uses a value that is not made yet");
  step(
      "source -2", OpKind::linear, [](Step& s) { s.src[0] = -2; },
      "uses a value that is not made yet");
  step(
      "source 2^31 - 1", OpKind::linear, [](Step& s) { s.src[0] = kLargest; },
      "uses a value that is not made yet");
  step(
      "no source", OpKind::linear, [](Step& s) { s.src[0] = kNone; }, "source 0 is missing");
  step(
      "a source of ids", OpKind::layer_norm, [](Step& s) { s.src[0] = 0; }, "source 0 is not f32");
  step(
      "segments without their table", OpKind::embedding, [](Step& s) { s.tensors[2] = kNone; },
      "segments and their table go together");
  step(
      "a source too many", OpKind::linear, [](Step& s) { s.src[1] = s.src[0]; },
      "source 1 is one too many");
  step(
      "a tensor too many", OpKind::attention, [](Step& s) { s.tensors[5] = 0; },
      "tensor 5 is one too many");
  step(
      "a result out of order", OpKind::linear, [](Step& s) { s.dst += 1; },
      "makes a value out of order");
  step(
      "a result over an input", OpKind::embedding, [](Step& s) { s.dst = 0; },
      "makes a value out of order");
  step(
      "tensor 1000", OpKind::linear, [](Step& s) { s.tensors[0] = 1000; },
      "uses a tensor that does not exist");
  step(
      "tensor -2", OpKind::linear, [](Step& s) { s.tensors[1] = -2; },
      "uses a tensor that does not exist");
  step(
      "no weight", OpKind::linear, [](Step& s) { s.tensors[0] = kNone; }, "tensor 0 is missing");
  step(
      "a vector for a weight", OpKind::linear, [](Step& s) { s.tensors[0] = s.tensors[1]; },
      "tensor 0 is [");
  step(
      "a weight for a bias", OpKind::linear, [](Step& s) { s.tensors[1] = s.tensors[0]; },
      "tensor 1 has element type i8");
  step(
      "integers without scales", OpKind::linear, [](Step& s) { s.tensors[2] = kNone; },
      "tensor 2 is missing");
  step(
      "integers without sums", OpKind::linear, [](Step& s) { s.tensors[3] = kNone; },
      "tensor 3 is missing");
  step(
      "a source scale of infinity", OpKind::linear, [](Step& s) { s.real = kInfinite; },
      "impossible source scale");
  step(
      "a negative source scale", OpKind::linear, [](Step& s) { s.real = -1; },
      "impossible source scale");
  step(
      "an epsilon of NaN", OpKind::layer_norm, [](Step& s) { s.real = kNan; },
      "impossible epsilon");
  step(
      "a norm without weight", OpKind::layer_norm, [](Step& s) { s.tensors[0] = kNone; },
      "tensor 0 is missing");
  step(
      "no heads", OpKind::attention, [](Step& s) { s.heads = 0; }, "impossible heads");
  step(
      "-1 heads", OpKind::attention, [](Step& s) { s.heads = -1; }, "impossible heads");
  step(
      "3 heads", OpKind::attention, [](Step& s) { s.heads = 3; }, "qkv does not fit the heads");
  step(
      "2^31 - 1 heads of 2^31 - 1", OpKind::attention,
      [](Step& s) { s.heads = s.head_dim = kLargest; }, "qkv does not fit the heads");
  step(
      "a scale of NaN", OpKind::attention, [](Step& s) { s.real = kNan; }, "impossible scale");
  step(
      "arithmetic of 4 bits", OpKind::attention, [](Step& s) { s.first = 4; },
      "unknown arithmetic");
  step(
      "a negative first position", OpKind::embedding, [](Step& s) { s.first = -1; },
      "negative position offset");
  step(
      "a first position behind the table", OpKind::embedding, [](Step& s) { s.first = 5; },
      "position offset beyond the table");
  step(
      "no words", OpKind::embedding, [](Step& s) { s.tensors[0] = kNone; }, "");
  step(
      "words without scales", OpKind::embedding, [](Step& s) { s.tensors[3] = kNone; },
      "tensor 3 is missing");
  kinds.program(
      "a table without rows", [](Program& p) { p.tensors[0].dims[0] = 0, p.tensors[0].bytes = 0; },
      "tensor 0 has no rows");
  kinds.program(
      "two embeddings",
      [](Program& p) {
        Step again = p.steps[0];
        again.dst = static_cast<engine::ValueIndex>(p.values.size());
        p.values.push_back(p.values[static_cast<std::size_t>(p.steps[0].dst)]);
        p.steps.push_back(again);
      },
      "more than one embedding");
  row(
      "columns behind the source", OpKind::columns, [](Step& s) { s.last = 5; },
      "columns outside the source");
  row(
      "columns that end before they begin", OpKind::columns, [](Step& s) { s.last = s.first; },
      "columns outside the source");
  row(
      "columns from -1", OpKind::columns, [](Step& s) { s.first = -1; },
      "columns outside the source");
  row(
      "a sum without its first side", OpKind::add, [](Step& s) { s.src[0] = kNone; },
      "source 0 is missing");
  row(
      "a sum without its second side", OpKind::add, [](Step& s) { s.src[1] = kNone; },
      "source 1 is missing");
  row(
      "a mean of means", OpKind::l2_normalize, [](Step& s) { s.op = OpKind::mean_pool; },
      "pools something else than tokens");
  kinds.rows(
      "a sum of unlike sides",
      [&](Program& p) {
        Step sum = find(p, OpKind::add);
        sum.src = {2, 1};
        sum.dst = static_cast<engine::ValueIndex>(p.values.size());
        p.values.push_back(p.values[1]);
        p.steps.push_back(sum);
      },
      "the two sides differ");
  kinds.rows(
      "a result of other columns", [](Program& p) { p.values[3].columns = 3; },
      "the result has other rows or columns");
  kinds.rows(
      "hidden states of sequences", [](Program& p) { p.values[0].rows = engine::Rows::sequences; },
      "input 'x' is no hidden states of tokens");
  kinds.rows(
      "a value that no step makes", [](Program& p) { p.values.push_back(p.values[0]); },
      "values that no step makes");
  kinds.rows(
      "a step without a value", [](Program& p) { p.steps.push_back(p.steps[0]); },
      "makes a value out of order");
  kinds.rows(
      "no outputs", [](Program& p) { p.outputs.clear(); }, "no outputs");
  kinds.rows(
      "output -1", [](Program& p) { p.outputs[0].value = -1; }, "is not a value");
  kinds.rows(
      "output 1000", [](Program& p) { p.outputs[1].value = 1000; }, "is not a value");
  kinds.program(
      "ids as an output", [](Program& p) { p.outputs[0].value = 0; }, "is not f32");
}

void add_packed(Kinds& kinds) {
  const auto first = [](Program& p) -> engine::TensorInfo& {
    return *std::ranges::find_if(p.tensors, [](const auto& t) { return t.group > 0; });
  };
  const auto multiplier = [&](int value) {
    return [=](Program& p, Bytes& weights) {
      const engine::TensorInfo& tensor = first(p);
      weights[tensor.offset + tensor.bytes - 1] = static_cast<std::byte>(value);
    };
  };
  kinds.packed("a multiplier of 0", multiplier(0),
               "tensor 'embedding.word' has a multiplier of 0, expected 1 to 18");
  kinds.packed("a multiplier of 19", multiplier(19), "has a multiplier of 19, expected 1 to 18");
  kinds.packed("a multiplier of 255", multiplier(255), "has a multiplier of 255");
  kinds.packed(
      "an integer of -8",
      [&](Program& p, Bytes& weights) { weights[first(p).offset] = std::byte{0x08}; },
      "weights: tensor 'embedding.word' holds -8, expected -7 to 7");
  for (const int group : {1, 33, 256, 65535}) {
    kinds.packed(
        "groups of " + std::to_string(group),
        [&, group](Program& p, Bytes&) { first(p).group = static_cast<std::uint16_t>(group); },
        "has impossible groups of " + std::to_string(group));
  }
  kinds.packed(
      "groups of floats",
      [](Program& p, Bytes&) {
        std::ranges::find(p.tensors, DType::f32, &engine::TensorInfo::dtype)->group = 32;
      },
      "has impossible groups of 32");
  kinds.packed(
      "groups in a file of version 1", [](Program&, Bytes&) {}, "not zero", engine::kFormatVersion);
  kinds.packed(
      "8 bits where there are 4", [&](Program& p, Bytes&) { first(p).group = 0; },
      "has another size than its dimensions");
  kinds.packed(
      "other groups than the multipliers are of",
      [](Program& p, Bytes&) {
        for (engine::TensorInfo& tensor : p.tensors)
          if (tensor.group > 0 && tensor.dims[1] == 64) tensor.group = 128;
      },
      "has another size than its dimensions");
  kinds.packed(
      "4 bits of size -1", [&](Program& p, Bytes&) { first(p).bytes -= 1; },
      "has another size than its dimensions");
  kinds.packed(
      "4 bits behind the weights", [&](Program& p, Bytes& w) { first(p).offset = w.size(); },
      "lies outside the weights");
  kinds.packed(
      "4 bits at 2^64 - 64", [&](Program& p, Bytes&) { first(p).offset = ~std::uint64_t{63}; },
      "lies outside the weights");
  kinds.packed(
      "4 bits that are not aligned", [&](Program& p, Bytes&) { first(p).offset += 1; },
      "is not aligned");
  kinds.packed(
      "4 bits cut", [](Program&, Bytes& weights) { weights.resize(weights.size() - 64); },
      "lies outside the weights");
  kinds.packed(
      "a thousand tensors at one place",
      [&](Program& p, Bytes&) {
        const engine::TensorInfo again = first(p);
        p.tensors.insert(p.tensors.end(), 1000, again);
      },
      "more than these weights hold");
  kinds.packed(
      "a tensor of 2^56 elements",
      [&](Program& p, Bytes&) {
        first(p).dims = {Index{1} << 28, Index{1} << 28};
        first(p).bytes = engine::bytes_in_file(first(p)).value();
      },
      "more than these weights hold");
}

TEST_CASE("malformed engine files are refused by name") {
  Kinds kinds;
  add_files(kinds);
  add_tables(kinds);
  add_sections(kinds);
  add_values_and_tensors(kinds);
  add_steps(kinds);
  add_packed(kinds);
  CHECK(kinds.all().size() >= 60);
  const TempFolder folder;
  const std::string path = (folder / "model.rtai").string();
  const auto verify = [&](const Bytes& bytes) {
    write_bytes(path, bytes);
    return run_program({"verify", path});
  };
  CHECK(verify(kinds.good()).exit == 0);
  CHECK(verify(small_rows_file()).exit == 0);
  CHECK(verify(small_int4_file()).exit == 0);
  check_refused(kinds.all(), "verify", path);
}

}  // namespace
}  // namespace rtai::testing

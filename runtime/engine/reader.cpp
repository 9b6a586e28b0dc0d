#include "runtime/base/aligned_buffer.h"
#include "runtime/base/byte_stream.h"
#include "runtime/base/checked.h"
#include "runtime/base/digest.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/parallel.h"
#include "runtime/base/read_file.h"
#include "runtime/base/usable_cores.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/format.h"
#include "runtime/engine/packed_weights.h"

#include <algorithm>
#include <optional>

namespace rtai::engine {
namespace {

Error corrupt(std::uint64_t offset, std::string_view what) {
  return {ErrorCode::corrupt, "byte " + std::to_string(offset) + ": " + std::string(what)};
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

/// The sections by kind; empty spans for absent ones.
struct Sections {
  std::array<std::span<const std::byte>, kSectionKinds + 1> data;
  std::array<Sha256Digest, kSectionKinds + 1> digests{};
  std::uint32_t version = kFormatVersion;

  std::span<const std::byte> operator[](SectionKind kind) const {
    return data[static_cast<std::size_t>(kind)];
  }
};

Result<Header> read_header(std::span<const std::byte> file) {
  ByteReader reader(file);
  RTAI_TRY(const Header header, reader.read<Header>());
  if (header.version != kFormatVersion && header.version != kPackedFormatVersion) {
    return Error{ErrorCode::unsupported,
                 "engine format version " + std::to_string(header.version) + ", this rtai reads " +
                     std::to_string(kFormatVersion) + " and " +
                     std::to_string(kPackedFormatVersion) +
                     "; make the engine again from its model with this rtai"};
  }
  if (header.file_bytes != file.size()) {
    return corrupt(offsetof(Header, file_bytes),
                   "the header says " + std::to_string(header.file_bytes) +
                       " bytes, the file has " + std::to_string(file.size()));
  }
  if (header.reserved != 0) return corrupt(offsetof(Header, reserved), "not zero");
  if (header.section_count > kSectionKinds ||
      sizeof(Header) + header.section_count * sizeof(SectionEntry) > file.size()) {
    return corrupt(offsetof(Header, section_count), "impossible number of sections");
  }
  Header blank = header;
  blank.digest = {};
  Sha256 hash;
  hash.update(std::as_bytes(std::span(&blank, 1)));
  hash.update(file.subspan(sizeof(Header), header.section_count * sizeof(SectionEntry)));
  if (hash.finish() != header.digest) {
    return corrupt(offsetof(Header, digest), "header and section table do not match their digest");
  }
  return header;
}

Result<Sections> read_sections(std::span<const std::byte> file) {
  RTAI_TRY(const Header header, read_header(file));
  Sections sections;
  sections.version = header.version;
  ByteReader table(file.subspan(0, sizeof(Header) + header.section_count * sizeof(SectionEntry)));
  RTAI_TRY_VOID(table.take(sizeof(Header)));
  std::uint64_t end = sizeof(Header) + header.section_count * sizeof(SectionEntry);
  std::uint32_t last_kind = 0;
  for (std::uint32_t i = 0; i < header.section_count; ++i) {
    const std::size_t at = table.position();
    RTAI_TRY(const SectionEntry entry, table.read<SectionEntry>());
    if (entry.kind <= last_kind || entry.kind > kSectionKinds)
      return corrupt(at, "unexpected section kind");
    if (entry.reserved != 0 || entry.reserved2 != 0)
      return corrupt(at, "reserved fields are not zero");
    if (entry.offset != end) return corrupt(at, "sections do not follow each other");
    if (entry.bytes > file.size() - entry.offset)
      return corrupt(at, "section beyond the end of the file");
    sections.data[entry.kind] = file.subspan(entry.offset, entry.bytes);
    sections.digests[entry.kind] = entry.digest;
    const auto padded =
        checked_round_up<std::uint64_t>(entry.offset + entry.bytes, kEngineAlignment);
    if (!padded || *padded > file.size()) return corrupt(at, "section beyond the end of the file");
    const std::uint64_t tail = entry.offset + entry.bytes;
    if (!all_zero(file.subspan(tail, *padded - tail))) return corrupt(tail, "padding is not zero");
    end = *padded;
    last_kind = entry.kind;
  }
  if (end != file.size()) return corrupt(end, "bytes after the last section");
  return sections;
}

Result<void> check_digest(const Sections& sections, SectionKind kind) {
  const auto i = static_cast<std::size_t>(kind);
  const bool absent = sections.data[i].data() == nullptr;
  if (absent || sha256(sections.data[i]) == sections.digests[i]) return {};
  return Error{ErrorCode::corrupt, "section " + std::to_string(i) + " does not match its digest"};
}

/// Blocks [begin, end) of `weights` fit their checksums.
Result<void> check_blocks(std::span<const std::byte> weights,
                          std::span<const std::uint32_t> checksums,
                          std::uint64_t begin,
                          std::uint64_t end) {
  for (std::uint64_t block = begin; block < end; ++block) {
    const std::uint64_t at = block * kChecksumBlock;
    const std::uint64_t size = std::min<std::uint64_t>(kChecksumBlock, weights.size() - at);
    if (crc32c(weights.subspan(at, size)) == checksums[block]) continue;
    return Error{ErrorCode::corrupt, "weights: bytes " + std::to_string(at) + " to " +
                                         std::to_string(at + size) + " were changed"};
  }
  return {};
}

Result<void> check_weights(const Sections& sections) {
  const std::span<const std::byte> weights = sections[SectionKind::weights];
  ByteReader sums(sections[SectionKind::checksums]);
  const std::uint64_t blocks = div_up<std::uint64_t>(weights.size(), kChecksumBlock);
  if (sums.remaining() != blocks * sizeof(std::uint32_t)) {
    return Error{ErrorCode::corrupt, "checksums: one for each block of the weights expected"};
  }
  std::vector<std::uint32_t> checksums(blocks);
  for (std::uint32_t& checksum : checksums) {
    RTAI_TRY(checksum, sums.read<std::uint32_t>());
  }

  // One core takes 11 ms to map the pages of 108 MB and 13 to sum them. Loads of BERT-base in int8
  // as a whole: 24 to 40 ms on two cores, 35 to 53 on one (AMD EPYC, Zen 3, not idle; `rtai bench`,
  // load).
  constexpr std::uint64_t kWorthAThread = 128;  // blocks
  return for_each_piece(
      static_cast<Index>(div_up(blocks, kWorthAThread)), usable_cores(), [&](Index piece) {
        const std::uint64_t begin = static_cast<std::uint64_t>(piece) * kWorthAThread;
        return check_blocks(weights, checksums, begin, std::min(begin + kWorthAThread, blocks));
      });
}

template <class T, class Read>
Result<std::vector<T>> read_list(ByteReader& reader, std::size_t smallest, Read&& read) {
  RTAI_TRY(const std::uint32_t count, reader.read_count(smallest));
  if (count > kMaxValues) {
    return corrupt(reader.position() - 4, "a list of " + std::to_string(count));
  }
  std::vector<T> items;
  items.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    RTAI_TRY(T item, read(reader));
    items.push_back(std::move(item));
  }
  return items;
}

template <class Enum>
Result<Enum> read_enum(ByteReader& reader, int count) {
  const std::size_t at = reader.position();
  RTAI_TRY(const auto number, reader.read<std::underlying_type_t<Enum>>());
  if (number >= count) return corrupt(at, "unknown code " + std::to_string(number));
  return static_cast<Enum>(number);
}

Result<ValueInfo> read_value(ByteReader& reader) {
  ValueInfo value;
  RTAI_TRY(value.rows, read_enum<Rows>(reader, 2));
  RTAI_TRY(value.dtype, read_enum<DType>(reader, kEngineDTypeCount));
  RTAI_TRY(const std::uint16_t zero, reader.read<std::uint16_t>());
  if (zero != 0) return corrupt(reader.position() - 2, "not zero");
  RTAI_TRY(value.columns, reader.read<std::uint32_t>());
  return value;
}

Result<TensorInfo> read_tensor(ByteReader& reader, std::uint32_t version) {
  TensorInfo tensor;
  RTAI_TRY(tensor.name, reader.read_string(kMaxNameBytes));
  RTAI_TRY(tensor.dtype, read_enum<DType>(reader, kEngineDTypeCount));
  RTAI_TRY(tensor.layout, read_enum<Layout>(reader, 2));
  RTAI_TRY(tensor.group, reader.read<std::uint16_t>());
  if (tensor.group != 0 && version != kPackedFormatVersion)
    return corrupt(reader.position() - 2, "not zero");
  RTAI_TRY(tensor.dims[0], reader.read<Index>());
  RTAI_TRY(tensor.dims[1], reader.read<Index>());
  RTAI_TRY(tensor.offset, reader.read<std::uint64_t>());
  RTAI_TRY(tensor.bytes, reader.read<std::uint64_t>());
  return tensor;
}

Result<Step> read_step(ByteReader& reader) {
  Step step;
  RTAI_TRY(step.op, read_enum<OpKind>(reader, kOpKindCount));
  RTAI_TRY(step.function, read_enum<Function>(reader, kFunctionCount));
  RTAI_TRY(const std::uint8_t causal, reader.read<std::uint8_t>());
  if (causal > 1) return corrupt(reader.position() - 1, "neither 0 nor 1");
  step.causal = causal != 0;
  RTAI_TRY(step.src, reader.read<decltype(step.src)>());
  RTAI_TRY(step.dst, reader.read<std::int32_t>());
  RTAI_TRY(step.tensors, reader.read<decltype(step.tensors)>());
  RTAI_TRY(step.heads, reader.read<std::int32_t>());
  RTAI_TRY(step.head_dim, reader.read<std::int32_t>());
  RTAI_TRY(step.first, reader.read<std::int32_t>());
  RTAI_TRY(step.last, reader.read<std::int32_t>());
  RTAI_TRY(step.real, reader.read<float>());
  return step;
}

Result<Output> read_output(ByteReader& reader) {
  Output output;
  RTAI_TRY(output.name, reader.read_string(kMaxNameBytes));
  RTAI_TRY(output.value, reader.read<std::int32_t>());
  return output;
}

Result<void> expect_end(const ByteReader& reader) {
  if (reader.remaining() == 0) return {};
  return corrupt(reader.position(), "bytes after the end of the section");
}

Result<Program> read_program(std::span<const std::byte> bytes, std::uint32_t version) {
  ByteReader reader(bytes);
  Program program;
  RTAI_TRY(program.values, read_list<ValueInfo>(reader, 8, read_value));
  RTAI_TRY(program.inputs, read_list<std::string>(reader, 4, [](ByteReader& r) {
             return r.read_string(kMaxNameBytes);
           }));
  RTAI_TRY(program.tensors, read_list<TensorInfo>(reader, 40, [version](ByteReader& r) {
             return read_tensor(r, version);
           }));
  RTAI_TRY(program.steps, read_list<Step>(reader, 60, read_step));
  RTAI_TRY(program.outputs, read_list<Output>(reader, 8, read_output));
  RTAI_TRY_VOID(expect_end(reader));
  return program;
}

constexpr std::size_t kLongestText = std::size_t{1}
                                     << 24;  // of a label or a fact, such as a report

Result<std::vector<std::string>> read_labels(std::span<const std::byte> bytes) {
  if (bytes.empty()) return std::vector<std::string>{};
  ByteReader reader(bytes);
  RTAI_TRY(std::vector<std::string> labels, read_list<std::string>(reader, 4, [](ByteReader& r) {
             return r.read_string(kLongestText);
           }));
  RTAI_TRY_VOID(expect_end(reader));
  return labels;
}

Result<std::map<std::string, std::string>> read_metadata(std::span<const std::byte> bytes) {
  std::map<std::string, std::string> facts;
  if (bytes.empty()) return facts;
  ByteReader reader(bytes);
  RTAI_TRY(const std::uint32_t count, reader.read_count(8));
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t at = reader.position();
    RTAI_TRY(std::string key, reader.read_string(kMaxNameBytes));
    RTAI_TRY(std::string value, reader.read_string(kLongestText));
    if (!facts.empty() && key <= facts.rbegin()->first)
      return corrupt(at, "facts are not in order");
    facts.emplace(std::move(key), std::move(value));
  }
  RTAI_TRY_VOID(expect_end(reader));
  return facts;
}

/// A file and what its weights became.
struct Unpacked {
  std::shared_ptr<const void> file;
  AlignedBuffer weights;
};

/// The tensors lie where they say they do in a file with packed ones.
Result<void> verify_places(const Program& stored, std::uint64_t weights_bytes) {
  for (const TensorInfo& tensor : stored.tensors) {
    const auto misfit = [&](const char* what) {
      return Error{ErrorCode::corrupt, std::string(what)}.in("tensor '" + tensor.name + "'");
    };
    RTAI_TRY(const std::uint64_t expected,
             bytes_in_file(tensor).in("tensor '" + tensor.name + "'"));
    if (tensor.bytes != expected) return misfit("has another size than its dimensions");
    if (tensor.offset % kEngineAlignment != 0) return misfit("is not aligned");
    if (tensor.offset > weights_bytes || tensor.bytes > weights_bytes - tensor.offset)
      return misfit("lies outside the weights");
  }
  return {};
}

/// Gives an engine whose weights stand packed in its file memory with the int8 that they mean, and
/// everything else beside them. Returns what owns all of it.
Result<std::shared_ptr<const void>> unpack(Engine& engine, std::shared_ptr<const void> file) {
  const Program stored = engine.program;
  RTAI_TRY(const std::uint64_t tensors_end,
           place_tensors(engine.program, Place::memory).in("program"));
  // Before there is memory: tensors that share their place in the file ask for more than a file
  // with each at its own can hold.
  if (tensors_end / 2 > engine.weights.size()) {
    return Error{ErrorCode::corrupt, "program: tensors of " + std::to_string(tensors_end) +
                                         " bytes, more than these weights hold"};
  }
  const std::uint64_t bytes = tensors_end + kPanelSlack;
  RTAI_TRY_VOID(verify(engine.program, bytes).in("program"));
  RTAI_TRY_VOID(verify_places(stored, engine.weights.size()).in("program"));
  RTAI_TRY(AlignedBuffer weights, AlignedBuffer::make(bytes));
  for (std::size_t i = 0; i < stored.tensors.size(); ++i) {
    const std::span<const std::byte> source = engine.bytes_of(stored.tensors[i]);
    const TensorInfo& tensor = engine.program.tensors[i];
    const std::span<std::byte> target = weights.span().subspan(tensor.offset, tensor.bytes);
    if (tensor.group > 0) {
      RTAI_TRY_VOID(unpack_weights(tensor, source, target).in("weights"));
    } else {
      std::ranges::copy(source, target.begin());
    }
  }
  auto both = std::make_shared<const Unpacked>(Unpacked{std::move(file), std::move(weights)});
  engine.weights = both->weights.span();
  return std::shared_ptr<const void>(std::move(both));
}

/// The size that an engine's header gives is the size of this file.
bool looks_like_engine_but_for_its_magic(std::span<const std::byte> bytes) {
  const Result<Header> header = ByteReader(bytes).read<Header>();
  return header && header->file_bytes == bytes.size();
}

}  // namespace

bool looks_like_engine(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

Result<Engine> parse(std::span<const std::byte> bytes,
                     std::shared_ptr<const void> storage,
                     Verify verify_level) {
  if (!looks_like_engine(bytes)) {
    return looks_like_engine_but_for_its_magic(bytes)
               ? Error{ErrorCode::corrupt, "byte 0: an engine begins with other bytes"}
               : Error{ErrorCode::invalid_input, "not an rtai engine file"};
  }
  RTAI_TRY(const Sections sections, read_sections(bytes));
  for (const SectionKind required :
       {SectionKind::program, SectionKind::weights, SectionKind::checksums}) {
    if (sections[required].data() != nullptr) continue;
    return Error{ErrorCode::corrupt,
                 "section " + std::to_string(static_cast<int>(required)) + " is missing"};
  }
  for (const SectionKind kind :
       {SectionKind::program, SectionKind::checksums, SectionKind::tokenizer, SectionKind::labels,
        SectionKind::metadata}) {
    RTAI_TRY_VOID(check_digest(sections, kind));
  }
  RTAI_TRY_VOID(check_weights(sections));
  if (verify_level == Verify::digests) RTAI_TRY_VOID(check_digest(sections, SectionKind::weights));

  Engine engine;
  RTAI_TRY(engine.program,
           read_program(sections[SectionKind::program], sections.version).in("program"));
  engine.weights = sections[SectionKind::weights];
  if (has_packed(engine.program)) {
    RTAI_TRY(storage, unpack(engine, std::move(storage)));
  } else {
    RTAI_TRY_VOID(verify(engine.program, engine.weights.size()).in("program"));
  }
  engine.tokenizer = sections[SectionKind::tokenizer];
  RTAI_TRY(engine.labels, read_labels(sections[SectionKind::labels]).in("labels"));
  RTAI_TRY(engine.metadata, read_metadata(sections[SectionKind::metadata]).in("metadata"));
  engine.storage = std::move(storage);
  engine.file_bytes = bytes.size();
  return engine;
}

Result<Engine> open(const std::filesystem::path& path, Verify verify_level) {
  RTAI_TRY(MappedFile file, MappedFile::open(path));
  const auto storage = std::make_shared<const MappedFile>(std::move(file));
  return parse(storage->bytes(), storage, verify_level).in(path.string());
}

Result<Engine> read(const std::filesystem::path& path, Verify verify_level) {
  {
    // Whatever else a name stands for is not read into memory first, however large it is.
    RTAI_TRY(const MappedFile file, MappedFile::open(path));
    if (!looks_like_engine(file.bytes())) return open(path, verify_level);
  }
  RTAI_TRY(AlignedBuffer bytes, read_file(path));
  const auto storage = std::make_shared<const AlignedBuffer>(std::move(bytes));
  return parse(storage->span(), storage, verify_level).in(path.string());
}

}  // namespace rtai::engine

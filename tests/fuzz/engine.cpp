// Engine files: opened, and what opens is run on a few tokens.
#include "runtime/engine/engine.h"

#include "runtime/engine/format.h"
#include "runtime/exec/session.h"
#include "runtime/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/engine_parts.h"

#include <cstdlib>
#include <cstring>

namespace rtai::fuzz {
namespace {

using engine::SectionKind;
using testing::EngineParts;
using testing::EngineSection;

/// The bytes on a 64-byte boundary, as a mapped file has them, with nothing behind the last one.
std::shared_ptr<std::byte> aligned_copy(std::span<const std::byte> bytes) {
  void* memory = nullptr;
  expect(::posix_memalign(&memory, engine::kEngineAlignment,
                          std::max<std::size_t>(bytes.size(), 1)) == 0);
  std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(memory));
  return {static_cast<std::byte*>(memory), std::free};
}

/// Columns of all values: memory and time of a run grow with them.
Index width_of(const engine::Program& program) {
  Index width = 0;
  for (const engine::ValueInfo& value : program.values)
    width += value.columns;
  return width;
}

void run(const std::shared_ptr<const engine::Engine>& engine) {
  auto session = Session::create(engine, {.threads = 1, .max_tokens = 4, .max_sequences = 2});
  if (!session) return;
  const std::vector<std::int32_t> ids = {1, 0, 3};
  const std::vector<std::int32_t> offsets = {0, 1, 3};
  std::vector<float> hidden;
  for (std::size_t i = 0; i < engine->program.inputs.size(); ++i) {
    const engine::ValueInfo& value = engine->program.values[i];
    if (value.dtype == DType::f32)
      hidden.assign(ids.size() * static_cast<std::size_t>(value.columns), 0.5f);
  }
  const std::vector<std::int32_t> segments(ids.size(), 0);
  const auto status =
      session->run({.ids = ids, .segments = segments, .offsets = offsets, .hidden = hidden});
  if (!status) return;
  for (std::size_t i = 0; i < engine->program.outputs.size(); ++i) {
    const auto output = session->output(i);
    float sum = 0;  // reads every element
    for (const float value : output.flat())
      sum += value;
    __asm__ volatile("" ::"x"(sum));
  }
}

/// Changes one section as a forger would: numbers where numbers are, records moved and doubled.
void mutate_section(std::vector<std::byte>& bytes, Dice& dice, std::size_t most) {
  const std::size_t choice = dice.below(8);
  if (choice < 3 && bytes.size() >= 4) {  // a number on the grid of 4 bytes, of 1, 4 or 8
    const std::int64_t number = telling_number(dice);
    const std::size_t width = std::size_t{1} << (dice.below(2) + dice.below(3));
    const std::size_t at = dice.below(bytes.size() / 4) * 4 + (width == 1 ? dice.below(4) : 0);
    std::memcpy(bytes.data() + at, &number, std::min({width, bytes.size() - at, sizeof number}));
    return;
  }
  if (choice < 5 && bytes.size() >= 8) {  // a step up or down
    const std::size_t at = dice.below(bytes.size() / 4) * 4;
    std::int32_t number = 0;
    std::memcpy(&number, bytes.data() + at, sizeof number);
    number = static_cast<std::int32_t>(static_cast<std::uint32_t>(number) + 1 -
                                       static_cast<std::uint32_t>(2 * dice.below(2)));
    std::memcpy(bytes.data() + at, &number, sizeof number);
    return;
  }
  if (choice == 5 && bytes.size() >= 60) {  // a record (value, step) twice or gone
    const std::size_t size = dice.one_in(2) ? 60 : 8;
    const std::size_t at = dice.below((bytes.size() - size) / 4 + 1) * 4;
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const std::vector<std::byte> record(begin, begin + static_cast<std::ptrdiff_t>(size));
    if (dice.one_in(2))
      bytes.erase(begin, begin + static_cast<std::ptrdiff_t>(size));
    else
      bytes.insert(begin, record.begin(), record.end());
    return;
  }
  const std::size_t size = bytes.size();
  bytes.resize(std::max(most, size + 1));
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(bytes.data()), size, bytes.size()));
}

std::vector<std::byte> mutate(EngineParts parts, Dice& dice, std::size_t most) {
  if (dice.one_in(64)) parts.version = static_cast<std::uint32_t>(telling_number(dice));
  const std::size_t count = parts.sections.size();
  if (count > 0 && dice.one_in(32))
    parts.sections.erase(parts.sections.begin() + static_cast<std::ptrdiff_t>(dice.below(count)));
  if (dice.one_in(32) && parts.sections.size() < 8) {
    parts.sections.push_back({static_cast<std::uint32_t>(dice.below(8)), {}});
  }
  for (std::size_t i = 1 + dice.below(3); i > 0 && !parts.sections.empty(); --i) {
    const auto favoured = parts.find(SectionKind::program);
    std::vector<std::byte>& section = favoured != nullptr && !dice.one_in(3)
                                          ? *favoured
                                          : parts.sections[dice.below(parts.sections.size())].bytes;
    mutate_section(section, dice, section.size() + 64);
  }
  const auto* weights = parts.find(SectionKind::weights);
  auto* checksums = parts.find(SectionKind::checksums);
  if (weights != nullptr && checksums != nullptr && !dice.one_in(32)) {
    *checksums = testing::checksums_of(*weights);
  }
  std::vector<std::byte> file = testing::put_together(parts);
  if (file.size() > most) file.clear();
  return file;
}

}  // namespace
}  // namespace rtai::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rtai;
  const std::shared_ptr<std::byte> copy = fuzz::aligned_copy(fuzz::bytes_of(data, size));
  auto engine = engine::parse({copy.get(), size}, copy);
  if (!engine) {
    fuzz::expect(!engine.error().message().empty());
    return 0;
  }
  if (!engine->tokenizer.empty()) {
    const auto tokenizer = text::Tokenizer::deserialize(engine->tokenizer);
    if (tokenizer) (void)tokenizer->encode("a b [SEP]");
  }
  constexpr Index kWidest = 1 << 14;  // a run of wider programs is slow, not different
  if (fuzz::width_of(engine->program) > kWidest) return 0;
  fuzz::run(std::make_shared<const engine::Engine>(*std::move(engine)));
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data,
                                               std::size_t size,
                                               std::size_t most,
                                               unsigned int seed) {
  using namespace rtai;
  fuzz::Dice dice(seed);
  const auto parts = testing::take_apart(fuzz::bytes_of(data, size));
  if (!parts || dice.one_in(32)) return LLVMFuzzerMutate(data, size, most);
  const std::vector<std::byte> file = fuzz::mutate(*parts, dice, most);
  if (file.empty()) return LLVMFuzzerMutate(data, size, most);
  std::memcpy(data, file.data(), file.size());
  return file.size();
}

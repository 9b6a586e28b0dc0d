#include "tools/workload.h"

#include "runtime/base/mapped_file.h"
#include "runtime/base/usable_cores.h"
#include "runtime/cuda/backend.h"
#include "tools/text_data.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <numeric>
#include <random>
#include <utility>

namespace rtai::tools {
namespace {

std::string_view trimmed(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return line.substr(begin, line.find_last_not_of(" \t\r") - begin + 1);
}

/// The length that a line of digits tells.
std::optional<int> length_of(std::string_view line) {
  int length = 0;
  const auto [stop, status] = std::from_chars(line.data(), line.data() + line.size(), length);
  if (status != std::errc{} || stop != line.data() + line.size() || length < 1) return std::nullopt;
  return length;
}

Result<void> take_texts(const std::string& path,
                        const text::Tokenizer& tokenizer,
                        Workload& workload) {
  RTAI_TRY(std::vector<Sample> samples, read_samples(path));
  for (const Sample& sample : samples) {
    RTAI_TRY(const text::Encoding encoding, encode(sample, &tokenizer).in(path));
    workload.lengths.push_back(static_cast<int>(encoding.ids.size()));
  }
  workload.texts = std::make_shared<const std::vector<Sample>>(std::move(samples));
  return {};
}

/// One whole number a line, or texts whose tokens are counted.
Result<void> read_lengths(const std::string& path,
                          const text::Tokenizer* tokenizer,
                          Workload& workload) {
  RTAI_TRY(const MappedFile file, MappedFile::open(path));
  std::vector<int>& lengths = workload.lengths;
  std::string_view rest = file.text();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = trimmed(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.empty()) continue;
    const std::optional<int> length = length_of(line);
    if (!length && lengths.empty() && tokenizer != nullptr)
      return take_texts(path, *tokenizer, workload);
    if (!length) {
      return Error{ErrorCode::invalid_input,
                   fmt::format("{}: expected one length in tokens a line, found '{}'", path,
                               line.substr(0, 40))};
    }
    lengths.push_back(*length);
  }
  if (lengths.empty())
    return Error{ErrorCode::invalid_input, fmt::format("{}: no lengths in this file", path)};
  return {};
}

/// Tokens of a sequence of the workload; lengths are taken in turn.
int length_at(const Workload& workload, int sequence) {
  if (workload.lengths.empty()) return workload.seq;
  return workload.lengths[static_cast<std::size_t>(sequence) % workload.lengths.size()];
}

/// The i of cuda:i, 0 for cuda.
Result<int> gpu_number(std::string_view device) {
  const Error unknown{ErrorCode::device,
                      fmt::format("unknown device '{}'; known: cpu, cuda[:i]", device)};
  if (device == "cuda") return 0;
  if (!device.starts_with("cuda:")) return unknown;
  const std::string_view digits = device.substr(5);
  int number = 0;
  const auto [stop, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (status != std::errc{} || stop != digits.data() + digits.size() || number < 0) return unknown;
  return number;
}

}  // namespace

void WorkloadFlags::add_to(CLI::App& command) {
  const std::string group = "Workload";
  command.add_option("--batch", workload.batch, "Sequences at once")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str()
      ->group(group);
  command.add_option("--seq", workload.seq, "Tokens of each sequence, all real")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--lengths", lengths_file,
                  "Instead of --seq: texts (.txt, .jsonl, .csv, .tsv), or a length in tokens a "
                  "line; taken in "
                  "turn")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--threads", workload.threads, "Threads (default: usable cores)")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  command.add_option("--device", workload.device, "cpu or cuda[:i]")
      ->type_name("DEVICE")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--target", workload.target,
                  "Instruction set to use (default: the best; see `rtai devices`)")
      ->type_name("NAME")
      ->group(group);
}

Result<Workload> WorkloadFlags::resolve(const GlobalFlags& flags,
                                        const text::Tokenizer* tokenizer) const {
  Workload resolved = workload;
  resolved.seed = flags.seed;
  if (resolved.device != "cpu") {
    RTAI_TRY(resolved.gpu, gpu_number(resolved.device));
    // Known now, and not after a model was loaded.
    RTAI_TRY(const auto found, cuda::devices().in(fmt::format("device '{}'", resolved.device)));
    if (*resolved.gpu >= static_cast<int>(found.size())) {
      return Error{ErrorCode::device, fmt::format("device '{}': this machine has {} GPUs",
                                                  resolved.device, found.size())};
    }
  }
  if (!lengths_file.empty()) RTAI_TRY_VOID(read_lengths(lengths_file, tokenizer, resolved));
  return resolved;
}

std::vector<int> batches_of(const Workload& workload) {
  constexpr std::size_t kMost = 64;
  constexpr double kGoldenRatio = 0.618034;  // multiples of it lie spread, however many there are
  const auto batch = static_cast<std::size_t>(workload.batch);
  std::vector<std::pair<std::int64_t, int>> all;  // tokens and first sequence of each batch
  for (std::size_t first = 0; first + batch <= workload.lengths.size(); first += batch) {
    const auto begin = workload.lengths.begin() + static_cast<std::ptrdiff_t>(first);
    all.emplace_back(std::accumulate(begin, begin + workload.batch, std::int64_t{0}), first);
  }
  if (all.empty()) return {0};
  std::ranges::sort(all);
  const std::size_t count = std::min(all.size(), kMost);
  auto step = static_cast<std::size_t>(kGoldenRatio * static_cast<double>(count)) + 1;
  while (std::gcd(step, count) != 1)
    ++step;
  std::vector<int> firsts;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t part = i * step % count;  // of the batches by size, its middle one
    firsts.push_back(all[(2 * part + 1) * all.size() / (2 * count)].second);
  }
  return firsts;
}

std::string workload_text(const Workload& workload) {
  std::string tokens = fmt::format("{} tokens", workload.seq);
  if (!workload.lengths.empty()) {
    const std::vector<int> firsts = batches_of(workload);
    std::int64_t total = 0;
    for (const int first : firsts) {
      for (int s = 0; s < workload.batch; ++s)
        total += length_at(workload, first + s);
    }
    tokens = fmt::format("{:.1f} tokens on average", static_cast<double>(total) / workload.batch /
                                                         static_cast<double>(firsts.size()));
  }
  int threads = workload.threads > 0 ? workload.threads : usable_cores();
  threads -= threads % workload.streams;
  const std::string where =
      workload.gpu ? workload.device : fmt::format("{} thread{}", threads, threads == 1 ? "" : "s");
  const std::string streams =
      workload.streams == 1 ? "" : fmt::format(", {} streams", workload.streams);
  return fmt::format("batch {}, {}, {}{}", workload.batch, tokens, where, streams);
}

Result<WorkloadTokens> make_tokens(const engine::Program& program,
                                   const Workload& workload,
                                   int first) {
  Index vocabulary = 1;
  for (const engine::Step& step : program.steps) {
    if (step.op != engine::OpKind::embedding) continue;
    const auto word = static_cast<std::size_t>(step.tensors[engine::embedding_tensor::word]);
    vocabulary = program.tensors[word].dims[0];
  }
  const Index longest = engine::longest_sequence(program);
  std::mt19937_64 random(workload.seed + static_cast<std::uint64_t>(first));
  WorkloadTokens tokens;
  tokens.offsets.push_back(0);
  for (int s = 0; s < workload.batch; ++s) {
    const int length = length_at(workload, first + s);
    if (length > longest) {
      return Error{
          ErrorCode::invalid_input,
          fmt::format("sequences of {} tokens; the model has {} positions", length, longest)};
    }
    for (int t = 0; t < length; ++t) {
      tokens.ids.push_back(
          static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocabulary)));
    }
    tokens.offsets.push_back(static_cast<std::int32_t>(tokens.ids.size()));
  }
  tokens.segments.assign(tokens.ids.size(), 0);
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    if (program.values[i].dtype != DType::f32) continue;
    tokens.hidden.resize(tokens.ids.size() * static_cast<std::size_t>(program.values[i].columns));
    for (float& value : tokens.hidden) {
      value = static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-52 - 1.0);
    }
  }
  return tokens;
}

}  // namespace rtai::tools

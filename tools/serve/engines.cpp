#include "tools/serve/engines.h"

#include "runtime/base/digest.h"
#include "runtime/base/read_file.h"
#include "runtime/base/usable_cores.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

namespace rtai::serve {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kDigestDigits = 16;
// Tokens that there is memory for from the start; more cost an allocation.
constexpr Index kTokensOfText = 512;
constexpr Index kTokensOfBatch = 1024;

/// Loads an engine from the bytes that its file has now; `digest` becomes that of them.
Result<tools::Model> load_engine(const std::string& path, std::string& digest, Log& log) {
  RTAI_TRY(AlignedBuffer bytes, read_file(path));
  digest = to_hex(sha256(bytes.span())).substr(0, kDigestDigits);
  const auto storage = std::make_shared<const AlignedBuffer>(std::move(bytes));
  RTAI_TRY(engine::Engine engine,
           engine::parse(storage->span(), storage, engine::Verify::digests).in(path));
  return tools::model_of(std::move(engine), path, log);
}

/// A name that can stand in headers, paths and labels.
std::string plain_name(std::string name) {
  std::ranges::replace_if(
      name, [](char c) { return !is_plain(c); }, '_');
  return name;
}

bool is_engine(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored) && path.extension() == ".rtai";
}

bool all_finite(const std::vector<std::vector<tools::SampleOutput>>& outputs) {
  return std::ranges::all_of(outputs, [](const auto& sample) {
    return std::ranges::all_of(sample, [](const tools::SampleOutput& output) {
      return std::ranges::all_of(output.values, [](float value) { return std::isfinite(value); });
    });
  });
}

/// A text of `length` tokens, or as many as the model takes.
text::Encoding made_up(std::size_t length, const InputLimits& limits) {
  const Index words = std::max<Index>(limits.words, 1);
  length = std::min(length, static_cast<std::size_t>(std::max<Index>(limits.positions, 1)));
  text::Encoding encoding;
  for (std::size_t i = 0; i < length; ++i)
    encoding.ids.push_back(static_cast<std::int32_t>(static_cast<Index>(i * 37) % words));
  encoding.segments.assign(length, 0);
  return encoding;
}

/// Runs texts of several lengths: the first answers, the first costs.
Result<void> try_out(LoadedEngine& loaded) {
  constexpr std::array<std::size_t, 4> kLengths = {8, 16, 64, 128};
  for (int round = 0; round < 2; ++round) {
    for (const std::size_t length : kLengths) {
      const text::Encoding encoding = made_up(length, loaded.limits);
      const auto start = std::chrono::steady_clock::now();
      RTAI_TRY(const auto outputs,
               loaded.whole->run(std::span(&encoding, 1), silent_log()).in(loaded.name));
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      // The first ones are slower.
      if (round > 0) loaded.first_costs.add(encoding.ids.size(), spent.count());
      if (!all_finite(outputs)) {
        return Error{ErrorCode::invalid_input,
                     fmt::format("{}: gives numbers that are not finite", loaded.name)};
      }
    }
  }
  const text::Encoding encoding = made_up(kLengths.back(), loaded.limits);
  for (tools::Predictor& lane : loaded.lanes)
    RTAI_TRY_VOID(lane.run(std::span(&encoding, 1), silent_log()).in(loaded.name));
  return {};
}

int threads_of(int wanted) {
  return wanted > 0 ? wanted : usable_cores();
}

Result<void> make_predictors(LoadedEngine& loaded, const EngineOptions& options) {
  const auto make = [&](int threads, Index tokens) {
    return tools::Predictor::create(loaded.engine, {.threads = threads,
                                                    .target = options.target,
                                                    .max_tokens = tokens,
                                                    .max_sequences = tokens});
  };
  const int threads = threads_of(options.threads);
  RTAI_TRY(loaded.whole, make(threads, kTokensOfText));
  const int lanes = static_cast<int>(lane_count(threads));
  for (int lane = 0; lane < lanes; ++lane) {
    RTAI_TRY(tools::Predictor predictor,
             make(threads * (lane + 1) / lanes - threads * lane / lanes, kTokensOfBatch));
    loaded.lanes.push_back(std::move(predictor));
  }
  return {};
}

Result<std::shared_ptr<const LoadedEngine>> load_one(const std::string& path,
                                                     const EngineOptions& options,
                                                     Log& log) {
  auto loaded = std::make_shared<LoadedEngine>();
  const fs::path file(path);
  loaded->name = plain_name((file.has_filename() ? file : file.parent_path()).stem().string());
  loaded->stamp = stamp_of(path);
  if (is_engine(path)) {
    RTAI_TRY(loaded->model, load_engine(path, loaded->digest, log));
  } else {
    RTAI_TRY(loaded->model, tools::load_model(path, log));
    const auto source = loaded->model.metadata.find("source_sha256");
    loaded->digest = source == loaded->model.metadata.end()
                         ? std::string()
                         : source->second.substr(0, kDigestDigits);
  }
  RTAI_TRY(loaded->engine, tools::make_engine(loaded->model).in(path));
  loaded->limits = limits_of(loaded->program());
  RTAI_TRY_VOID(make_predictors(*loaded, options).in(path));
  RTAI_TRY_VOID(try_out(*loaded));
  return std::shared_ptr<const LoadedEngine>(std::move(loaded));
}

/// What of two engines differs that one model would have in common; empty: nothing.
std::string_view difference(const LoadedEngine& a, const LoadedEngine& b) {
  if (a.model.task != b.model.task || a.model.multi_label != b.model.multi_label) return "tasks";
  if (a.model.labels != b.model.labels) return "labels";
  if (a.model.tokenizer.has_value() != b.model.tokenizer.has_value()) return "tokenizers";
  if (a.model.tokenizer && a.model.tokenizer->serialize() != b.model.tokenizer->serialize())
    return "tokenizers";
  const engine::Program& p = a.program();
  const engine::Program& q = b.program();
  const bool same_outputs =
      std::ranges::equal(p.outputs, q.outputs, [&](const auto& x, const auto& y) {
        const auto& v = p.values[static_cast<std::size_t>(x.value)];
        const auto& w = q.values[static_cast<std::size_t>(y.value)];
        return x.name == y.name && v.rows == w.rows && v.columns == w.columns;
      });
  return same_outputs ? std::string_view() : "outputs";
}

}  // namespace

bool is_plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
         c == '-' || c == '_';
}

std::size_t lane_count(int threads) {
  return threads_of(threads) > 1 ? 2 : 1;
}

int io_threads_beside(int threads) {
  constexpr int kFew = 2;
  return threads_of(threads) > kFew ? 1 : 0;
}

FileStamp stamp_of(const fs::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .bytes = static_cast<std::uint64_t>(status.st_size),
          .changed_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

Result<std::shared_ptr<const EngineSet>> load_engines(const EngineOptions& options,
                                                      std::uint64_t generation,
                                                      Log& log) {
  auto set = std::make_shared<EngineSet>();
  set->generation = generation;
  set->model = options.model;
  for (const std::string& path : options.paths) {
    RTAI_TRY(auto engine, load_one(path, options, log));
    for (const auto& other : set->engines) {
      if (other->name == engine->name) {
        return Error{ErrorCode::invalid_input,
                     fmt::format("two engines are called '{}'", engine->name)};
      }
    }
    if (!set->engines.empty()) {
      const std::string_view what = difference(set->first(), *engine);
      if (!what.empty()) {
        return Error{ErrorCode::invalid_input,
                     fmt::format("{}: expected an engine of the same model as {}, their {} differ",
                                 path, options.paths.front(), what)};
      }
    }
    set->engines.push_back(std::move(engine));
  }
  set->model_name = options.model_name.empty() ? set->first().name : options.model_name;
  return std::shared_ptr<const EngineSet>(std::move(set));
}

}  // namespace rtai::serve

// rtai prune-vocab: a model and a tokenizer without the tokens that its texts never need.
#include "libopt/prune/vocabulary.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/optimization.h"
#include "tools/vocabulary.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace rtai::tools {
namespace {

struct PruneVocabFlags {
  OptimizationFlags common;
  std::optional<std::string> keep;
};

/// The ids of the tokens that a file lists, one a line.
Result<std::vector<std::int32_t>> listed_tokens(const std::string& path,
                                                const text::Tokenizer& tokenizer) {
  RTAI_TRY(const std::vector<Sample> lines, read_samples(path));
  std::vector<std::int32_t> ids;
  for (const Sample& line : lines) {
    const std::optional<std::int32_t> id = tokenizer.id_of(line.text);
    if (!id) {
      return Error{ErrorCode::invalid_input,
                   fmt::format("{}: '{}' is no token of this model", path, line.text)};
    }
    ids.push_back(*id);
  }
  return ids;
}

/// What config.json says of the vocabulary follows.
void set_vocab_size(std::string& config_text, Index size) {
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(config_text, nullptr, false);
  if (!config.is_object() || !config.contains("vocab_size")) return;
  config["vocab_size"] = size;
  config_text = pretty(config);
}

Result<PassReport> prune_vocabulary(Model& model, std::vector<std::int32_t> seen) {
  const Index before = model.tokenizer->id_limit();
  RTAI_TRY(const std::vector<Index> kept, needed_tokens(*model.tokenizer, seen));
  RTAI_TRY(text::Tokenizer narrow, narrow_tokenizer(*model.tokenizer, kept));
  RTAI_TRY_VOID(prune::keep_words(*model.graph, kept));
  model.tokenizer = std::move(narrow);
  set_vocab_size(model.config_text, std::ssize(kept));
  return PassReport{.changed = std::ssize(kept) < before,
                    .counters = {{"tokens before", static_cast<double>(before)},
                                 {"tokens kept", static_cast<double>(std::ssize(kept))}}};
}

Result<int> run_prune_vocab(const PruneVocabFlags& flags, const GlobalFlags& global, Log& log) {
  RTAI_TRY(Optimization work, Optimization::start("prune-vocab", flags.common, global, log));
  if (!work.model().tokenizer) {
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: has no tokenizer that rtai can read", flags.common.model)};
  }
  std::vector<std::int32_t> seen = work.calibration().ids;
  if (flags.keep) {
    RTAI_TRY(const std::vector<std::int32_t> listed,
             listed_tokens(*flags.keep, *work.model().tokenizer));
    seen.insert(seen.end(), listed.begin(), listed.end());
    work.report().request["keep"] = *flags.keep;
  }
  if (flags.common.dry_run) return work.print_plan({"drop the tokens that no text needs"});
  RTAI_TRY_VOID(work.change(
      "prune-vocab", [&](Model& model) { return prune_vocabulary(model, std::move(seen)); }));
  return work.finish();
}

}  // namespace

void add_prune_vocab(Commands& commands) {
  auto flags = std::make_shared<PruneVocabFlags>();
  flags->common.calibration_texts = 1'000'000;
  CLI::App& command = *commands.app.add_subcommand(
      "prune-vocab", "Drop the tokens that texts never need; the tokenizer follows");
  flags->common.add_to(command);
  command.add_option("--keep", flags->keep, "File of further tokens to keep, one a line")
      ->type_name("FILE");
  command.footer(
      "Example: rtai prune-vocab model -o small --calib texts.txt --eval test.jsonl\n"
      "Special tokens, single characters and the tokens of the texts stay: a word whose token is\n"
      "gone is read in smaller pieces.");
  command.callback([flags, &commands] {
    if (!flags->common.calibration)
      throw CLI::RequiredError("--calib (as many texts like those to come as there are)");
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_prune_vocab(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools

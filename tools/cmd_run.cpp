// rtai run: text in, answer out.
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/predict.h"
#include "tools/workload.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <iostream>

namespace rtai::tools {
namespace {

struct RunFlags {
  std::string model;
  std::vector<std::string> texts;
  std::optional<std::string> data;
  bool json = false;
  bool logits = false;
  int batch = 1;
  int threads = 0;
  std::string target;
};

Json rows_json(const SampleOutput& output) {
  Json rows = Json::array();
  for (Index r = 0; r < output.rows; ++r)
    rows.push_back(std::vector<float>(output.row(r).begin(), output.row(r).end()));
  return rows;
}

/// The classes of a sequence are one list; tokens are a list of lists.
Json output_json(const Predictor& predictor, std::size_t i, const SampleOutput& output) {
  const engine::Program& program = predictor.engine().program;
  const auto rows = program.values[static_cast<std::size_t>(program.outputs[i].value)].rows;
  return rows == engine::Rows::tokens ? rows_json(output) : rows_json(output)[0];
}

Json spans_json(const Answer& answer,
                const std::vector<text::LabelledSpan>& spans,
                const std::string& text) {
  Json list = Json::array();
  for (const text::LabelledSpan& span : spans) {
    const std::uint32_t start = answer.words[span.begin].characters.begin;
    const std::uint32_t end = answer.words[span.end - 1].characters.end;
    list.push_back({{"label", span.label},
                    {"start", start},
                    {"end", end},
                    {"text", code_point_range(text, start, end)}});
  }
  return list;
}

Result<std::vector<text::LabelledSpan>> spans_of(const std::vector<std::string>& names,
                                                 const Answer& answer) {
  std::vector<text::WordLabel> labels;
  for (const AnsweredWord& word : answer.words)
    labels.push_back(word.label);
  return text::find_spans(labels, names);
}

/// Names for every class the model can give.
std::vector<std::string> all_names(const Model& model, Index classes) {
  std::vector<std::string> names;
  for (Index i = 0; i < classes; ++i)
    names.push_back(label_name(model, static_cast<std::size_t>(i)));
  return names;
}

Result<Json> answer_json(const Model& model,
                         const Sample& sample,
                         const Answer& answer,
                         const std::vector<std::string>& names) {
  Json line = {{"text", sample.text}};
  if (sample.text_b) line["text_b"] = *sample.text_b;
  switch (model.task) {
    case Task::sequence_classification: {
      line["label"] = names[answer.classes.label];
      line["score"] = answer.classes.score;
      Json scores = Json::object();
      for (std::size_t i = 0; i < answer.classes.scores.size(); ++i)
        scores[names[i]] = answer.classes.scores[i];
      line["scores"] = std::move(scores);
      return line;
    }
    case Task::token_classification: {
      Json words = Json::array();
      for (const AnsweredWord& word : answer.words) {
        const bool labelled = word.label.label != text::WordLabel::kNone;
        words.push_back(
            {{"word", word.word},
             {"start", word.characters.begin},
             {"end", word.characters.end},
             {"label",
              labelled ? Json(names[static_cast<std::size_t>(word.label.label)]) : Json(nullptr)},
             {"score", labelled ? Json(word.label.score) : Json(nullptr)}});
      }
      line["words"] = std::move(words);
      RTAI_TRY(const std::vector<text::LabelledSpan> spans, spans_of(names, answer));
      line["spans"] = spans_json(answer, spans, sample.text);
      return line;
    }
    default:
      line["embedding"] = answer.embedding;
      return line;
  }
}

Result<std::string> answer_text(const Model& model,
                                const Sample& sample,
                                const Answer& answer,
                                const std::vector<std::string>& names) {
  switch (model.task) {
    case Task::sequence_classification:
      return fmt::format("{} ({:.1f} %)\n", names[answer.classes.label],
                         100 * answer.classes.score);
    case Task::token_classification: {
      RTAI_TRY(const std::vector<text::LabelledSpan> spans, spans_of(names, answer));
      std::string text;
      for (const text::LabelledSpan& span : spans) {
        const std::uint32_t start = answer.words[span.begin].characters.begin;
        const std::uint32_t end = answer.words[span.end - 1].characters.end;
        text += fmt::format("{:<24} {}\n", span.label, code_point_range(sample.text, start, end));
      }
      return text.empty() ? std::string("(no spans)\n") : text;
    }
    default:
      return fmt::format("[{:.5f}]\n", fmt::join(answer.embedding, ", "));
  }
}

/// Answers samples in the order they come.
class Runner {
 public:
  Runner(const RunFlags& flags, const Model& model, Predictor& predictor, Log& log)
      : flags_(flags), model_(model), predictor_(predictor), log_(log) {}

  /// One run of the model.
  Result<void> answer(std::span<const Sample> samples) {
    std::vector<text::Encoding> encodings;
    for (const Sample& sample : samples) {
      RTAI_TRY(text::Encoding encoding, encode_for(model_, sample));
      if (encoding.truncated) {
        log_.warning(
            fmt::format("a text longer than the model's {} tokens was cut", encoding.ids.size()));
      }
      encodings.push_back(std::move(encoding));
    }
    RTAI_TRY(const auto outputs, predictor_.run(encodings, silent_log()));
    for (std::size_t i = 0; i < samples.size(); ++i)
      RTAI_TRY_VOID(show(samples[i], encodings[i], outputs[i]));
    return {};
  }

 private:
  Result<void> show(const Sample& sample,
                    const text::Encoding& encoding,
                    const std::vector<SampleOutput>& output) {
    const std::vector<std::string> names = all_names(model_, output.front().columns);
    const bool has_text = sample.ids.empty();
    if (!flags_.json) {
      RTAI_TRY(const Answer answer, make_answer(model_, sample, encoding, output));
      RTAI_TRY(const std::string text, answer_text(model_, sample, answer, names));
      std::cout << text << std::flush;
      return {};
    }
    Json line = Json::object();
    if (has_text && (model_.task != Task::unknown || !flags_.logits)) {
      RTAI_TRY(const Answer answer, make_answer(model_, sample, encoding, output));
      RTAI_TRY(line, answer_json(model_, sample, answer, names));
    }
    if (flags_.logits) {
      line["input_ids"] = encoding.ids;
      line["logits"] = output_json(predictor_, 0, output[0]);
      if (output.size() > 1) {
        Json all = Json::object();
        for (std::size_t i = 0; i < output.size(); ++i) {
          all[predictor_.engine().program.outputs[i].name] = output_json(predictor_, i, output[i]);
        }
        line["outputs"] = std::move(all);
      }
    }
    if (line.empty()) line["logits"] = output_json(predictor_, 0, output[0]);
    std::cout << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
    return {};
  }

  const RunFlags& flags_;
  const Model& model_;
  Predictor& predictor_;
  Log& log_;
};

Result<void> answer_standard_input(Runner& runner) {
  const bool prompt = ::isatty(STDIN_FILENO) != 0;
  std::string line;
  while (true) {
    if (prompt) std::cerr << "> " << std::flush;
    if (!std::getline(std::cin, line)) break;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    const Sample sample(line);
    RTAI_TRY_VOID(runner.answer({&sample, 1}));
  }
  if (prompt) std::cerr << '\n';
  return {};
}

Result<int> run_run(const RunFlags& flags, Log& log) {
  RTAI_TRY(const Model model, load_model(flags.model, log));
  RTAI_TRY(Predictor predictor, Predictor::create(model, flags.threads, flags.target));
  Runner runner(flags, model, predictor, log);
  if (flags.data) {
    RTAI_TRY(const std::vector<Sample> samples, read_samples(*flags.data));
    const auto batch = static_cast<std::size_t>(flags.batch);
    for (std::size_t i = 0; i < samples.size(); i += batch) {
      const std::size_t count = std::min(batch, samples.size() - i);
      const std::string place =
          count == 1 ? fmt::format("{}: sample {}", *flags.data, i + 1)
                     : fmt::format("{}: samples {} to {}", *flags.data, i + 1, i + count);
      RTAI_TRY_VOID(runner.answer(std::span(samples).subspan(i, count)).in(place));
    }
    return 0;
  }
  if (flags.texts.empty()) {
    RTAI_TRY_VOID(answer_standard_input(runner));
    return 0;
  }
  for (const std::string& text : flags.texts) {
    const Sample sample(text);
    RTAI_TRY_VOID(runner.answer({&sample, 1}));
  }
  return 0;
}

}  // namespace

void add_run(Commands& commands) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App& command = *commands.app.add_subcommand(
      "run", "Answer texts: from the command line, a file or standard input");
  command.add_option("model", flags->model, "ONNX file, folder or engine")->required();
  command.add_option("text", flags->texts, "Texts; none: a line at a time from standard input");
  command.add_option("--data", flags->data, ".txt or .jsonl file with a sample a line");
  command.add_flag("--json", flags->json, "One JSON object a line");
  command.add_flag("--logits", flags->logits, "With --json: ids and logits too");
  command.add_option("--batch", flags->batch, "With --data: samples in one run of the model")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--threads", flags->threads, "Threads (default: usable cores)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--target", flags->target, "Instruction set to use")->envname("RTAI_TARGET");
  command.footer("Example: rtai run model.rtai \"play the new album by westbam\"");
  command.callback(
      [flags, &commands] { commands.chosen = [flags](Log& log) { return run_run(*flags, log); }; });
}

}  // namespace rtai::tools

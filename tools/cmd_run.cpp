// rtai run: text in, answer out.
#include "tools/answer_json.h"
#include "tools/cli.h"
#include "tools/predict.h"
#include "tools/question_answering.h"
#include "tools/remote.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <functional>
#include <iostream>

namespace rtai::tools {
namespace {

constexpr std::string_view kStandardInput = "-";

struct RunFlags {
  std::string model;
  std::vector<std::string> texts;
  std::optional<std::string> data;
  std::string shard = "1/1";
  std::optional<std::string> question;
  bool pairs = false;
  int top_k = 0;  // 0: not asked for
  bool json = false;
  bool logits = false;
  int batch = 1;
  int threads = 0;
  std::string target;
  std::string api_key_file;
};

/// Answers samples in the order they come.
class Runner {
 public:
  /// `reader` for models that answer questions; ids are run as they are, whatever the model is for.
  Runner(const RunFlags& flags,
         const Model& model,
         const std::optional<QuestionReader>& reader,
         Predictor& predictor,
         Log& log)
      : flags_(flags), answer_([&](std::span<const Sample> samples) {
          return reader && samples.front().ids.empty()
                     ? answer_questions(model, *reader, predictor, samples, flags.logits)
                     : answer_here(flags, model, predictor, samples, log);
        }) {}
  Runner(const RunFlags& flags, RemoteModel& remote)
      : flags_(flags), answer_([&](std::span<const Sample> samples) {
          return remote.answer(samples, flags.logits);
        }) {}

  /// One run of the model.
  Result<void> answer(std::span<const Sample> samples) {
    RTAI_TRY(std::vector<Json> lines, answer_(samples));
    for (Json& line : lines) {
      if (flags_.top_k > 0) RTAI_TRY_VOID(keep_best_scores(line, flags_.top_k));
      std::cout << text_of(line) << std::flush;
    }
    if (!std::cout) return Error{ErrorCode::io, "standard output cannot be written"};
    return {};
  }

 private:
  std::string text_of(const Json& line) const {
    if (flags_.json) return one_line(line) + "\n";
    return flags_.top_k > 0 ? scores_text(line) : answer_text(line);
  }

  static Result<std::vector<Json>> answer_here(const RunFlags& flags,
                                               const Model& model,
                                               Predictor& predictor,
                                               std::span<const Sample> samples,
                                               Log& log) {
    std::vector<text::Encoding> encodings;
    for (const Sample& sample : samples) {
      RTAI_TRY(text::Encoding encoding, encode_for(model, sample));
      if (encoding.truncated) {
        log.warning(
            fmt::format("a text longer than the model's {} tokens was cut", encoding.ids.size()));
      }
      encodings.push_back(std::move(encoding));
    }
    RTAI_TRY(const auto outputs, predictor.run(encodings, silent_log()));
    std::vector<Json> lines;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      RTAI_TRY(Json line, flags.json ? line_json(model, predictor.engine().program, samples[i],
                                                 encodings[i], outputs[i], flags.logits)
                                     : answer_json(model, samples[i], encodings[i], outputs[i]));
      lines.push_back(std::move(line));
    }
    return lines;
  }

  const RunFlags& flags_;
  std::function<Result<std::vector<Json>>(std::span<const Sample>)> answer_;
};

/// The sample of a line of text.
Result<Sample> sample_of(const RunFlags& flags, std::string text) {
  Sample sample(std::move(text));
  if (!flags.pairs) return sample;
  const std::size_t tab = sample.text.find('\t');
  if (tab == std::string::npos)
    return invalid_input("--pairs: expected two texts with a tab between them");
  sample.text_b = sample.text.substr(tab + 1);
  sample.text.resize(tab);
  return sample;
}

/// Lines are texts, or with --data - what a .jsonl file would hold.
Result<void> answer_standard_input(const RunFlags& flags, Runner& runner, Log& log) {
  const bool prompt = ::isatty(STDIN_FILENO) != 0;
  bool is_empty = true;
  std::string line;
  for (std::size_t number = 1;; ++number) {
    if (prompt) std::cerr << "> " << std::flush;
    if (!std::getline(std::cin, line)) break;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    const std::string place = fmt::format("standard input: line {}", number);
    RTAI_TRY(
        Sample sample,
        (flags.data ? parse_sample(std::string_view(line)) : sample_of(flags, line)).in(place));
    if (flags.question && sample.ids.empty()) sample.question = flags.question;
    RTAI_TRY_VOID(runner.answer({&sample, 1}).in(place));
    is_empty = false;
  }
  if (prompt) std::cerr << '\n';
  if (is_empty && !prompt) log.warning("standard input: no text");
  return {};
}

Result<void> answer_file(const RunFlags& flags, Runner& runner) {
  RTAI_TRY(std::vector<Sample> samples, read_samples(*flags.data));
  for (Sample& sample : samples) {
    if (flags.question && sample.ids.empty()) sample.question = flags.question;
  }
  RTAI_TRY(const Shard shard, parse_shard(flags.shard));
  const auto batch = static_cast<std::size_t>(flags.batch);
  const std::size_t end = shard.end(samples.size());
  for (std::size_t i = shard.begin(samples.size()); i < end; i += batch) {
    const std::size_t count = std::min(batch, end - i);
    const std::string place =
        count == 1 ? fmt::format("{}: sample {}", *flags.data, i + 1)
                   : fmt::format("{}: samples {} to {}", *flags.data, i + 1, i + count);
    RTAI_TRY_VOID(runner.answer(std::span(samples).subspan(i, count)).in(place));
  }
  return {};
}

Result<void> answer_all_given(const RunFlags& flags, Runner& runner, Log& log) {
  const bool reads_file = flags.data && *flags.data != kStandardInput;
  if (reads_file) return answer_file(flags, runner);
  if (flags.data || flags.texts.empty()) return answer_standard_input(flags, runner, log);
  for (std::size_t i = 0; i < flags.texts.size(); ++i) {
    Sample sample(flags.texts[i]);
    sample.question = flags.question;
    if (flags.pairs) sample.text_b = flags.texts[++i];
    RTAI_TRY_VOID(runner.answer({&sample, 1}));
  }
  return {};
}

/// Flags that need a model of one kind.
Result<void> check_task(const RunFlags& flags, const Model& model) {
  const auto wrong = [&](std::string_view flag, Task task) {
    return invalid_input(fmt::format("{}: {} is for {}, this model is for {}", model.name, flag,
                                     task_name(task), task_name(model.task)));
  };
  if (flags.question && model.task != Task::question_answering)
    return wrong("--question", Task::question_answering);
  if (flags.top_k > 0 && model.task != Task::sequence_classification)
    return wrong("--top-k", Task::sequence_classification);
  return {};
}

Result<int> run_run(const RunFlags& flags, Log& log) {
  if (serve::is_url(flags.model)) {
    if (flags.question) {
      return Error{ErrorCode::unsupported, "--question to a server is not supported"};
    }
    RTAI_TRY(RemoteModel remote, RemoteModel::create(flags.model, flags.api_key_file));
    Runner runner(flags, remote);
    RTAI_TRY_VOID(answer_all_given(flags, runner, log));
    return 0;
  }
  RTAI_TRY(const Model model, load_model(flags.model, log));
  RTAI_TRY_VOID(check_task(flags, model));
  RTAI_TRY(Predictor predictor, make_predictor(model, flags.threads, flags.target));
  std::optional<QuestionReader> reader;
  if (model.task == Task::question_answering && model.tokenizer) {
    RTAI_TRY(reader, QuestionReader::create(*model.tokenizer));
  }
  Runner runner(flags, model, reader, predictor, log);
  RTAI_TRY_VOID(answer_all_given(flags, runner, log));
  return 0;
}

}  // namespace

void add_run(Commands& commands) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App& command = *commands.app.add_subcommand(
      "run", "Answer texts: from the command line, a file or standard input");
  command
      .add_option("model", flags->model,
                  "ONNX file, folder, engine, or http://HOST:PORT of rtai serve")
      ->required();
  command.add_option("text", flags->texts, "Texts; none: a line at a time from standard input");
  CLI::Option* data =
      command
          .add_option("--data", flags->data,
                      ".txt, .jsonl, .csv or .tsv file of samples; -: .jsonl lines from standard "
                      "input, each answered as it comes")
          ->type_name("FILE");
  CLI::Option* shard =
      command
          .add_option(
              "--shard", flags->shard,
              "With --data: answer the I-th of N equal blocks of the samples, I from 1 to N")
          ->type_name("I/N")
          ->needs(data)
          ->check([](const std::string& words) {
            const Result<Shard> parsed = parse_shard(words);
            return parsed ? std::string() : parsed.error().message();
          });
  CLI::Option* question = command.add_option(
      "--question", flags->question, "For question answering: what to look for in each text");
  command
      .add_flag("--pairs", flags->pairs,
                "Texts come in twos: one after the other, or with a tab between on a line of "
                "standard input")
      ->excludes(data)
      ->excludes(question);
  command
      .add_option("--top-k", flags->top_k,
                  "For classification: the K labels with the highest scores, the best first")
      ->check(CLI::Range(1, 1'000'000));
  command.add_flag("--json", flags->json, "One JSON object a line");
  command.add_flag("--logits", flags->logits, "With --json: ids and logits too");
  CLI::Option* batch =
      command.add_option("--batch", flags->batch, "With --data: samples in one run of the model")
          ->check(CLI::Range(1, 4096))
          ->capture_default_str();
  command.add_option("--threads", flags->threads, "Threads (default: usable cores)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--target", flags->target, "Instruction set to use");
  command
      .add_option("--api-key-file", flags->api_key_file, "With a URL: file with the key to send")
      ->type_name("FILE");
  command.footer(
      "Examples: rtai run model.rtai \"play the new album by westbam\"\n"
      "          rtai run model.rtai --data texts.txt --shard 2/8 --json > answers-2.jsonl\n"
      "          rtai run model.rtai --pairs \"is it raining?\" \"it is dry\" --top-k 3");
  command.callback([flags, shard, batch, &commands] {
    if (flags->data == kStandardInput && (shard->count() > 0 || batch->count() > 0))
      throw CLI::ValidationError("--data -", "--shard and --batch need a file");
    if (flags->pairs && flags->texts.size() % 2 != 0)
      throw CLI::ValidationError("--pairs", "expected an even number of texts");
    commands.chosen = [flags](Log& log) { return run_run(*flags, log); };
  });
}

}  // namespace rtai::tools

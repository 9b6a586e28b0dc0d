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

struct RunFlags {
  std::string model;
  std::vector<std::string> texts;
  std::optional<std::string> data;
  std::string shard = "1/1";
  std::optional<std::string> question;
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
    RTAI_TRY(const std::vector<Json> lines, answer_(samples));
    for (const Json& line : lines)
      std::cout << (flags_.json ? one_line(line) + "\n" : answer_text(line)) << std::flush;
    return {};
  }

 private:
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

Result<void> answer_standard_input(const std::optional<std::string>& question, Runner& runner) {
  const bool prompt = ::isatty(STDIN_FILENO) != 0;
  std::string line;
  while (true) {
    if (prompt) std::cerr << "> " << std::flush;
    if (!std::getline(std::cin, line)) break;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    Sample sample(line);
    sample.question = question;
    RTAI_TRY_VOID(runner.answer({&sample, 1}));
  }
  if (prompt) std::cerr << '\n';
  return {};
}

Result<void> answer_all_given(const RunFlags& flags, Runner& runner) {
  if (flags.data) {
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
  if (flags.texts.empty()) {
    return answer_standard_input(flags.question, runner);
  }
  for (const std::string& text : flags.texts) {
    Sample sample(text);
    sample.question = flags.question;
    RTAI_TRY_VOID(runner.answer({&sample, 1}));
  }
  return {};
}

Result<int> run_run(const RunFlags& flags, Log& log) {
  if (serve::is_url(flags.model)) {
    if (flags.question) {
      return Error{ErrorCode::unsupported, "--question to a server is not supported"};
    }
    RTAI_TRY(RemoteModel remote, RemoteModel::create(flags.model, flags.api_key_file));
    Runner runner(flags, remote);
    RTAI_TRY_VOID(answer_all_given(flags, runner));
    return 0;
  }
  RTAI_TRY(const Model model, load_model(flags.model, log));
  RTAI_TRY(Predictor predictor, make_predictor(model, flags.threads, flags.target));
  const bool answers_questions = model.task == Task::question_answering;
  if (flags.question && !answers_questions) {
    return Error{ErrorCode::invalid_input,
                 fmt::format("{}: --question is for question answering, this model is for {}",
                             model.name, task_name(model.task))};
  }
  std::optional<QuestionReader> reader;
  if (answers_questions && model.tokenizer) {
    RTAI_TRY(reader, QuestionReader::create(*model.tokenizer));
  }
  Runner runner(flags, model, reader, predictor, log);
  RTAI_TRY_VOID(answer_all_given(flags, runner));
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
      command.add_option("--data", flags->data, ".txt or .jsonl file with a sample a line");
  command
      .add_option("--shard", flags->shard,
                  "With --data: answer the I-th of N equal blocks of the samples, I from 1 to N")
      ->type_name("I/N")
      ->needs(data)
      ->check([](const std::string& words) {
        const Result<Shard> shard = parse_shard(words);
        return shard ? std::string() : shard.error().message();
      });
  command.add_option("--question", flags->question,
                     "For question answering: what to look for in each text");
  command.add_flag("--json", flags->json, "One JSON object a line");
  command.add_flag("--logits", flags->logits, "With --json: ids and logits too");
  command.add_option("--batch", flags->batch, "With --data: samples in one run of the model")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--threads", flags->threads, "Threads (default: usable cores)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--target", flags->target, "Instruction set to use");
  command.add_option("--api-key-file", flags->api_key_file,
                     "With a URL: file with the key to send");
  command.footer(
      "Examples: rtai run model.rtai \"play the new album by westbam\"\n"
      "          rtai run model.rtai --data texts.txt --shard 2/8 --json > answers-2.jsonl");
  command.callback(
      [flags, &commands] { commands.chosen = [flags](Log& log) { return run_run(*flags, log); }; });
}

}  // namespace rtai::tools

// rtai serve: engines behind HTTP.
#include "tools/cmd_serve.h"

#include "runtime/base/mapped_file.h"
#include "runtime/exec/team.h"
#include "tools/flag_values.h"
#include "tools/serve/http_server.h"
#include "tools/serve/service.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <span>

namespace rtai::tools {
namespace {

struct ServeFlags {
  std::vector<std::string> engines;
  std::string name;
  std::vector<std::string> models;  // NAME=ENGINE[,ENGINE...]
  serve::HttpOptions http;
  serve::BatchOptions batch;
  int port = 8000;
  int threads = 0;
  std::optional<int> io_threads;
  std::string target;
  double promise_ms = 0;
  double queue_ms = 0;
  double timeout_ms = 0;
  std::size_t most_texts = 256;
  int cache_mb = 0;
  int token_cache_mb = 8;
  std::string key_file;
  bool insecure = false;
  double drain_delay_ms = 500;
  double drain_limit_s = 30;
  double watchdog_s = 30;
};

bool is_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, serve::is_plain);
}

/// NAME=ENGINE[,ENGINE...]
bool is_named_model(std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || !is_name(text.substr(0, equals))) return false;
  const std::string paths = fmt::format(",{},", text.substr(equals + 1));
  return paths.find(",,") == std::string::npos;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// One key a line; empty lines and lines that begin with # are left out.
Result<std::vector<Sha256Digest>> read_keys(const std::string& path) {
  RTAI_TRY(const MappedFile file, MappedFile::open(path));
  std::vector<Sha256Digest> digests;
  std::string_view rest = file.text();
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' '))
      line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    digests.push_back(sha256(std::as_bytes(std::span(line))));
  }
  if (digests.empty())
    return Error{ErrorCode::invalid_input, fmt::format("{}: no key in this file", path)};
  return digests;
}

void prepare_process() {
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

serve::ServiceOptions service_options(const ServeFlags& flags) {
  serve::ServiceOptions options;
  options.batch = flags.batch;
  options.batch.promise_s = flags.promise_ms * 1e-3;
  const double default_wait_s =
      flags.promise_ms > 0 ? options.batch.promise_s / 2 : options.batch.most_wait_s;
  options.batch.most_wait_s = flags.queue_ms > 0 ? flags.queue_ms * 1e-3 : default_wait_s;
  options.most_texts = flags.most_texts;
  options.timeout_s = flags.timeout_ms * 1e-3;
  options.answer_cache_bytes = static_cast<std::uint64_t>(flags.cache_mb) << 20;
  options.token_cache_bytes = static_cast<std::uint64_t>(flags.token_cache_mb) << 20;
  options.watchdog_s = flags.watchdog_s;
  return options;
}

/// The first model, then those of --model.
std::vector<serve::EngineOptions> models_of(const ServeFlags& flags) {
  std::vector<serve::EngineOptions> models;
  const auto add = [&](std::string name, std::vector<std::string> paths) {
    models.push_back({.model_name = std::move(name),
                      .model = models.size(),
                      .paths = std::move(paths),
                      .threads = flags.threads,
                      .target = flags.target});
  };
  add(flags.name, flags.engines);
  for (const std::string& model : flags.models) {
    const std::size_t equals = model.find('=');
    add(model.substr(0, equals), CLI::detail::split(model.substr(equals + 1), ','));
  }
  return models;
}

Result<std::vector<serve::ServedModel>> load_models(const ServeFlags& flags, Log& log) {
  std::vector<serve::ServedModel> models;
  for (serve::EngineOptions& options : models_of(flags)) {
    RTAI_TRY(serve::SharedSet set, serve::load_engines(options, 0, log));
    for (const serve::ServedModel& other : models) {
      if (other.set->model_name == set->model_name) {
        return Error{ErrorCode::invalid_input,
                     fmt::format("two models are called '{}'", set->model_name)};
      }
    }
    models.push_back({std::move(options), std::move(set)});
  }
  return models;
}

std::string names_of(std::span<const serve::ServedModel> models) {
  std::string names;
  for (const serve::ServedModel& model : models)
    names += (names.empty() ? "" : ",") + model.set->model_name;
  return names;
}

std::string place_of(const serve::HttpOptions& http, std::uint16_t port) {
  if (!http.unix_path.empty()) return "unix:" + http.unix_path;
  const bool is_v6 = http.host.find(':') != std::string::npos;
  return fmt::format(fmt::runtime(is_v6 ? "http://[{}]:{}" : "http://{}:{}"), http.host, port);
}

std::chrono::milliseconds milliseconds(double value) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(value));
}

Result<int> run_serve(const ServeFlags& flags, const GlobalFlags& global, Log& log) {
  if (flags.http.unix_path.empty() && !is_loopback(flags.http.host) && flags.key_file.empty() &&
      !flags.insecure) {
    return Error{ErrorCode::invalid_input,
                 fmt::format("--host {}: others could ask without a key: give --api-key-file, or "
                             "--insecure if that is meant",
                             flags.http.host)};
  }
  const serve::Say say = [quiet = global.quiet](const std::string& line) {
    if (!quiet) std::fputs(fmt::format("rtai: {}\n", line).c_str(), stderr);
  };
  prepare_process();
  serve::ServiceOptions options = service_options(flags);
  if (!flags.key_file.empty()) {
    RTAI_TRY(options.key_digests, read_keys(flags.key_file));
  }
  RTAI_TRY(std::vector<serve::ServedModel> models, load_models(flags, log));
  const std::string names = names_of(models);

  serve::Service service(std::move(options), std::move(models), say);
  serve::HttpOptions http = flags.http;
  http.port = static_cast<std::uint16_t>(flags.port);
  http.threads = flags.io_threads.value_or(serve::io_threads_beside(flags.threads));
  RTAI_TRY(const std::unique_ptr<serve::HttpServer> server,
           serve::HttpServer::listen(
               http, [&service](serve::HttpRequest request, serve::Respond respond) {
                 service.handle(std::move(request), std::move(respond));
               }));
  bool draining = false;
  server->on_signals([&](int signal) {
    if (signal == SIGHUP) return service.reload();
    if (draining) ::_exit(128 + signal);
    say("draining: answering what is there, taking no more");
    draining = true;
    service.begin_drain();
    server->drain(milliseconds(flags.drain_delay_ms), milliseconds(flags.drain_limit_s * 1e3));
  });
  server->every(std::chrono::milliseconds(250), [&service] { service.look_around(); });
  say(fmt::format("serving {} at {}", names, place_of(http, server->port())));
  service.run(*server, http.threads == 0);
  say("done");
  return 0;
}

void add_http_flags(CLI::App& command, ServeFlags& flags) {
  const std::string group = "Network";
  command.add_option("--host", flags.http.host, "Address to listen at")
      ->capture_default_str()
      ->group(group);
  command.add_option("--port", flags.port, "Port; 0: any free one")
      ->check(CLI::Range(0, 65'535))
      ->capture_default_str()
      ->group(group);
  command.add_option("--unix", flags.http.unix_path, "Listen at this socket file instead")
      ->group(group);
  command.add_option("--api-key-file", flags.key_file, "File with a key a line; clients send one")
      ->type_name("FILE")
      ->group(group);
  command.add_flag("--insecure", flags.insecure, "Listen beyond this machine without keys")
      ->group(group);
  command
      .add_option("--io-threads", flags.io_threads,
                  "Threads that only read and write; 0: those that compute do it between batches "
                  "(default: 0 if two compute, else 1)")
      ->check(CLI::Range(0, 64))
      ->group(group);
  command.add_option("--max-body", flags.http.max_body_bytes, "Bytes of a request's body")
      ->check(CLI::Range(1024, 1 << 30))
      ->capture_default_str()
      ->group(group);
  command.add_option("--max-connections", flags.http.max_connections, "Connections at once")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str()
      ->group(group);
}

void add_queue_flags(CLI::App& command, ServeFlags& flags) {
  const std::string group = "Queue";
  command
      .add_option("--slo-p99", flags.promise_ms,
                  "Latency to promise, as in 5ms: faster engines help to keep it")
      ->transform(as_milliseconds())
      ->group(group);
  command
      .add_option("--queue-time", flags.queue_ms,
                  "Longest expected wait; beyond, requests get 429 (default: 100ms, or half of "
                  "--slo-p99)")
      ->transform(as_milliseconds())
      ->group(group);
  command.add_option("--queue-texts", flags.batch.most_texts, "Texts that may wait")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--timeout", flags.timeout_ms,
                  "Deadline of requests that name none, as in 200ms (default: none)")
      ->transform(as_milliseconds())
      ->group(group);
  command.add_option("--batch-tokens", flags.batch.most_tokens, "Tokens of a batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group(group);
  command.add_option("--max-texts", flags.most_texts, "Texts of one request")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str()
      ->group(group);
  command.add_option("--cache-mb", flags.cache_mb, "Memory for answers to repeated texts; 0: off")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--token-cache-mb", flags.token_cache_mb,
                  "Memory for the tokens of repeated texts")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void add_serve(Commands& commands) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App& command = *commands.app.add_subcommand(
      "serve", "Answer over HTTP: Open Inference Protocol, plain text, OpenAI embeddings");
  command.add_option("engines", flags->engines, "Engines of one model, the most accurate first")
      ->required();
  command.add_option("--name", flags->name, "The model's name (default: the first engine's)")
      ->check([](const std::string& name) {
        return is_name(name) ? "" : "expected letters, digits, '.', '-' and '_'";
      });
  command
      .add_option("--model", flags->models,
                  "Another model to serve, with its name and its engines; may be repeated")
      ->type_name("NAME=ENGINE[,ENGINE...]")
      ->allow_extra_args(false)
      ->check([](const std::string& model) {
        return is_named_model(model) ? "" : "expected NAME=ENGINE[,ENGINE...]";
      });
  command.add_option("--threads", flags->threads, "Threads that compute (default: usable cores)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--target", flags->target, "Instruction set to use");
  add_http_flags(command, *flags);
  add_queue_flags(command, *flags);
  command
      .add_option(
          "--drain-delay", flags->drain_delay_ms,
          "After SIGTERM, milliseconds (or 2s) to go on taking requests while /ready says no")
      ->transform(as_milliseconds())
      ->capture_default_str();
  command
      .add_option("--drain-limit", flags->drain_limit_s,
                  "And seconds after which to end at the latest")
      ->transform(as_seconds())
      ->capture_default_str();
  command
      .add_option("--watchdog", flags->watchdog_s, "End if computing is stuck for so many seconds")
      ->transform(as_seconds())
      ->capture_default_str();
  command.footer(
      "Examples: rtai serve full.rtai pruned.rtai --slo-p99 5ms --port 8000\n"
      "          rtai serve intents.rtai --model words=tagger.rtai");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_serve(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools

#include "runtime/api/rtai.h"

#include "runtime/exec/session.h"
#include "runtime/text/packed_batch.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct rtai_engine {
  std::shared_ptr<const rtai::engine::Engine> engine;
  std::shared_ptr<const rtai::text::Tokenizer>
      tokenizer;  // of this engine and its sessions; null: none
};

struct rtai_session {
  rtai::Session session;
  std::shared_ptr<const rtai::text::Tokenizer> tokenizer;
  // Of the last run that succeeded.
  std::vector<std::int32_t> ids = {};      // [tokens]
  std::vector<std::int32_t> offsets = {};  // [sequences + 1]
};

namespace {

using rtai::Error;
using rtai::ErrorCode;
using rtai::Result;

/// What went wrong last, as many whole characters as fit. An array: a string of each thread would
/// have to be destroyed, and glibc ends the program where it has no memory to note that.
thread_local std::array<char, 1024> last_error = {};

void remember(std::string_view message) noexcept {
  std::size_t size = std::min(message.size(), last_error.size() - 1);
  if (size < message.size()) {
    while (size > 0 && rtai::text::is_continuation(message[size]))
      --size;
  }
  message.copy(last_error.data(), size);
  last_error[size] = '\0';
}

rtai_status status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_input:
      return RTAI_INVALID_INPUT;
    case ErrorCode::not_found:
      return RTAI_NOT_FOUND;
    case ErrorCode::io:
      return RTAI_IO;
    case ErrorCode::unsupported:
      return RTAI_UNSUPPORTED;
    case ErrorCode::corrupt:
      return RTAI_CORRUPT;
    case ErrorCode::device:
      return RTAI_DEVICE;
    case ErrorCode::internal:
    case ErrorCode::gate:  // only the command line has gates
      return RTAI_INTERNAL;
  }
  return RTAI_INTERNAL;
}

/// Calls what may fail; nothing gets past the border to C but a status.
template <class F>
rtai_status guarded(F&& call) noexcept {
  try {
    const Result<void> done = call();
    if (done) return RTAI_OK;
    remember(done.error().message());
    return status_of(done.error().code());
  } catch (const std::bad_alloc&) {
    remember("out of memory");
    return RTAI_DEVICE;
  } catch (const std::exception& error) {
    remember(error.what());
    return RTAI_INTERNAL;
  }
}

Error missing(const char* argument) {
  return {ErrorCode::invalid_input, std::string(argument) + ": expected a pointer, found NULL"};
}

Result<rtai_engine> open_engine(const char* path) {
  RTAI_TRY(rtai::engine::Engine opened, rtai::engine::open(path));
  rtai_engine engine;
  if (!opened.tokenizer.empty()) {
    RTAI_TRY(rtai::text::Tokenizer tokenizer,
             rtai::text::Tokenizer::deserialize(opened.tokenizer).in(path));
    engine.tokenizer = std::make_shared<const rtai::text::Tokenizer>(std::move(tokenizer));
  }
  engine.engine = std::make_shared<const rtai::engine::Engine>(std::move(opened));
  return engine;
}

/// Later versions of the options are longer; what an older caller does not have stays as it is
/// here.
rtai::SessionOptions options_of(const rtai_session_options& given) {
  rtai::SessionOptions options;
  const auto has = [&](std::size_t end) { return given.size >= end; };
  if (has(offsetof(rtai_session_options, target))) options.threads = given.threads;
  if (has(offsetof(rtai_session_options, max_tokens)) && given.target != nullptr)
    options.target = given.target;
  if (has(offsetof(rtai_session_options, max_sequences)) && given.max_tokens > 0)
    options.max_tokens = given.max_tokens;
  if (has(sizeof(rtai_session_options)) && given.max_sequences > 0)
    options.max_sequences = given.max_sequences;
  return options;
}

Result<void> run(rtai_session& session, rtai::text::PackedBatch batch) {
  session.ids.clear();
  session.offsets.clear();
  RTAI_TRY_VOID(session.session.run(
      {.ids = batch.ids, .segments = batch.segments, .offsets = batch.offsets}));
  session.ids = std::move(batch.ids);
  session.offsets = std::move(batch.offsets);
  return {};
}

Result<void> run_texts(rtai_session& session, const char* const* texts, std::size_t count) {
  if (!session.tokenizer)
    return Error{ErrorCode::unsupported, "this engine has no tokenizer; run it on token ids"};
  rtai::text::PackedBatch batch;
  for (std::size_t i = 0; i < count; ++i) {
    if (texts[i] == nullptr) return missing("texts");
    batch.add(session.tokenizer->encode(texts[i]));
  }
  return run(session, std::move(batch));
}

Result<void> run_ids(rtai_session& session,
                     const std::int32_t* ids,
                     const std::int32_t* segments,
                     const std::int32_t* offsets,
                     std::size_t sequences) {
  const std::int32_t tokens = offsets[sequences];
  if (tokens < 0) return Error{ErrorCode::invalid_input, "offsets: expected them from 0 up"};
  rtai::text::PackedBatch batch{
      .ids = {ids, ids + tokens},
      .segments = std::vector<std::int32_t>(static_cast<std::size_t>(tokens)),
      .offsets = {offsets, offsets + sequences + 1}};
  if (segments != nullptr) std::copy_n(segments, tokens, batch.segments.begin());
  return run(session, std::move(batch));
}

/// Sequence `sequence` of the last run is tokens [first, second).
Result<std::pair<rtai::Index, rtai::Index>> tokens_of(const rtai_session& session,
                                                      std::size_t sequence) {
  if (session.offsets.empty()) return Error{ErrorCode::invalid_input, "there was no run yet"};
  if (sequence + 1 >= session.offsets.size()) {
    return Error{ErrorCode::invalid_input,
                 "sequence: the last run had " + std::to_string(session.offsets.size() - 1)};
  }
  return std::pair<rtai::Index, rtai::Index>(session.offsets[sequence],
                                             session.offsets[sequence + 1]);
}

Result<rtai_matrix> output_of(const rtai_session& session,
                              std::size_t output,
                              std::size_t sequence) {
  const rtai::engine::Program& program = session.session.engine().program;
  if (output >= program.outputs.size())
    return Error{ErrorCode::invalid_input,
                 "output: this engine has " + std::to_string(program.outputs.size())};
  RTAI_TRY(const auto tokens, tokens_of(session, sequence));
  const auto value = static_cast<std::size_t>(program.outputs[output].value);
  const bool per_token = program.values[value].rows == rtai::engine::Rows::tokens;
  const rtai::TensorView<const float> all = session.session.output(output);
  const rtai::Index first = per_token ? tokens.first : static_cast<rtai::Index>(sequence);
  const rtai::Index columns = all.shape()[1];
  return rtai_matrix{.values = all.flat().data() + first * columns,
                     .rows = per_token ? tokens.second - tokens.first : 1,
                     .columns = columns};
}

}  // namespace

const char* rtai_version(void) {
  return RTAI_VERSION;
}

int32_t rtai_api_version(void) {
  return RTAI_API_VERSION;
}

const char* rtai_last_error(void) {
  return last_error.data();
}

rtai_status rtai_engine_open(const char* path, rtai_engine** engine) {
  return guarded([&]() -> Result<void> {
    if (engine == nullptr) return missing("engine");
    *engine = nullptr;
    if (path == nullptr) return missing("path");
    RTAI_TRY(rtai_engine opened, open_engine(path));
    *engine = std::make_unique<rtai_engine>(std::move(opened)).release();
    return {};
  });
}

void rtai_engine_close(rtai_engine* engine) {
  std::unique_ptr<rtai_engine>{engine};
}

size_t rtai_engine_label_count(const rtai_engine* engine) {
  return engine == nullptr ? 0 : engine->engine->labels.size();
}

const char* rtai_engine_label(const rtai_engine* engine, size_t label) {
  if (label >= rtai_engine_label_count(engine)) return nullptr;
  return engine->engine->labels[label].c_str();
}

const char* rtai_engine_fact(const rtai_engine* engine, const char* name) {
  if (engine == nullptr || name == nullptr) return nullptr;
  for (const auto& [key, value] : engine->engine->metadata) {
    if (key == name) return value.c_str();
  }
  return nullptr;
}

rtai_status rtai_session_create(const rtai_engine* engine,
                                const rtai_session_options* options,
                                rtai_session** session) {
  return guarded([&]() -> Result<void> {
    if (session == nullptr) return missing("session");
    *session = nullptr;
    if (engine == nullptr) return missing("engine");
    const rtai::SessionOptions chosen =
        options == nullptr ? rtai::SessionOptions{} : options_of(*options);
    RTAI_TRY(rtai::Session created, rtai::Session::create(engine->engine, chosen));
    *session = std::make_unique<rtai_session>(rtai_session{std::move(created), engine->tokenizer})
                   .release();
    return {};
  });
}

void rtai_session_close(rtai_session* session) {
  std::unique_ptr<rtai_session>{session};
}

rtai_status rtai_session_run_texts(rtai_session* session, const char* const* texts, size_t count) {
  return guarded([&]() -> Result<void> {
    if (session == nullptr) return missing("session");
    if (texts == nullptr) return missing("texts");
    return run_texts(*session, texts, count);
  });
}

rtai_status rtai_session_run_ids(rtai_session* session,
                                 const int32_t* ids,
                                 const int32_t* segments,
                                 const int32_t* offsets,
                                 size_t sequences) {
  return guarded([&]() -> Result<void> {
    if (session == nullptr) return missing("session");
    if (ids == nullptr) return missing("ids");
    if (offsets == nullptr) return missing("offsets");
    return run_ids(*session, ids, segments, offsets, sequences);
  });
}

size_t rtai_session_output_count(const rtai_session* session) {
  return session == nullptr ? 0 : session->session.engine().program.outputs.size();
}

rtai_status rtai_session_output(const rtai_session* session,
                                size_t output,
                                size_t sequence,
                                rtai_matrix* matrix) {
  return guarded([&]() -> Result<void> {
    if (matrix == nullptr) return missing("matrix");
    *matrix = {};
    if (session == nullptr) return missing("session");
    RTAI_TRY(*matrix, output_of(*session, output, sequence));
    return {};
  });
}

rtai_status rtai_session_tokens(const rtai_session* session,
                                size_t sequence,
                                const int32_t** ids,
                                size_t* count) {
  return guarded([&]() -> Result<void> {
    if (ids == nullptr) return missing("ids");
    if (count == nullptr) return missing("count");
    *ids = nullptr;
    *count = 0;
    if (session == nullptr) return missing("session");
    RTAI_TRY(const auto tokens, tokens_of(*session, sequence));
    *ids = session->ids.data() + tokens.first;
    *count = static_cast<std::size_t>(tokens.second - tokens.first);
    return {};
  });
}

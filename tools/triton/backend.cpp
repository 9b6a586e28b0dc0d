// libtriton_rtai.so: engines in Triton Inference Server. Text in, answer out, no ensemble.
//
// Built on the C++ layers, not on librtai.so: the interface in C does not tell outputs and their
// sizes before there is a session, counts no tokens and takes no pairs of texts, and one file is
// easier to put into a server's image than two.
#include "runtime/base/log.h"
#include "tools/answer_json.h"
#include "tools/predictor.h"
#include "tools/triton/request.h"
#include "tools/triton/served_model.h"
#include "tools/triton/status.h"
#include "tools/triton/triton_api.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rtai::triton {
namespace {

constexpr std::uint32_t kConfigVersion = 1;
// Of the interface: what is used here is in all of 1.10 and later.
constexpr std::uint32_t kApiMajor = 1, kLeastApiMinor = 10;

/// A function's result for the server.
template <class F>
TRITONSERVER_Error* answer(F&& call) noexcept {
  const Result<void> done = guarded(std::forward<F>(call));
  return done ? nullptr : to_triton(done.error());
}

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                                    std::chrono::nanoseconds(1));
}

void log_line(TRITONSERVER_LogLevel level, const std::string& line) {
  // Where not even this works, there is nobody to tell.
  (void)checked(TRITONSERVER_LogMessage(level, "rtai", 0, line.c_str()));
}

/// What the server did not take is worth a line, no more.
void note_failure(const Result<void>& done) {
  if (!done) log_line(TRITONSERVER_LOG_ERROR, done.error().message());
}

Result<ServedModel*> model_of(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelState(model, &state)));
  return static_cast<ServedModel*>(state);
}

/// One session on the model that its instances share.
class Instance {
 public:
  static Result<std::unique_ptr<Instance>> create(const ServedModel& model,
                                                  std::optional<int> gpu) {
    RTAI_TRY(tools::Predictor predictor,
             tools::Predictor::create(model.engine, {.threads = model.settings.threads,
                                                     .target = model.settings.target,
                                                     .max_tokens = model.settings.batch_tokens,
                                                     .gpu = gpu}));
    return std::make_unique<Instance>(model, std::move(predictor));
  }

  Instance(const ServedModel& model, tools::Predictor predictor)
      : model_(model), predictor_(std::move(predictor)) {}

  /// Runs what can be run as one batch, and answers and releases every request.
  void execute(TRITONBACKEND_ModelInstance* handle, std::span<TRITONBACKEND_Request*> requests);

 private:
  struct Times {
    std::uint64_t start = 0, compute_start = 0, compute_end = 0;
  };
  struct Pending {
    TRITONBACKEND_Request* request = nullptr;
    Result<void> done = {};
    Inquiry inquiry = {};
  };

  Result<void> run(std::span<Pending> batch, serve::Outputs& outputs);
  void respond(Pending& pending, std::span<const std::vector<tools::SampleOutput>> outputs) const;

  const ServedModel& model_;
  tools::Predictor predictor_;
};

/// The texts of all requests together, which changes no answer.
Result<void> Instance::run(std::span<Pending> batch, serve::Outputs& outputs) {
  std::vector<text::Encoding> encodings;  // borrowed from the requests, which get them back
  for (Pending& pending : batch) {
    std::ranges::move(pending.inquiry.encodings, std::back_inserter(encodings));
  }
  if (encodings.empty()) return {};
  Result<serve::Outputs> made = predictor_.run(encodings, silent_log());
  auto next = encodings.begin();
  for (Pending& pending : batch) {
    for (text::Encoding& encoding : pending.inquiry.encodings)
      encoding = std::move(*next++);
  }
  if (!made) return made.error();
  outputs = *std::move(made);
  return {};
}

void Instance::respond(Pending& pending,
                       std::span<const std::vector<tools::SampleOutput>> outputs) const {
  TRITONBACKEND_Response* response = nullptr;
  const Result<void> made = checked(TRITONBACKEND_ResponseNew(&response, pending.request));
  if (!made) {
    pending.done = made;
    return note_failure(made);
  }
  if (pending.done) {
    pending.done =
        guarded([&] { return fill_response(model_, pending.inquiry, outputs, response); });
  }
  TRITONSERVER_Error* error = pending.done ? nullptr : to_triton(pending.done.error());
  note_failure(
      checked(TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error)));
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

void Instance::execute(TRITONBACKEND_ModelInstance* handle,
                       std::span<TRITONBACKEND_Request*> requests) {
  Times times{.start = now_ns()};
  std::vector<Pending> batch(requests.size());
  std::size_t texts = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Pending& pending = batch[i];
    pending.request = requests[i];
    pending.done = guarded([&]() -> Result<void> {
      RTAI_TRY(pending.inquiry, read_request(model_, pending.request));
      return {};
    });
    texts += pending.inquiry.encodings.size();
  }
  times.compute_start = now_ns();
  serve::Outputs outputs;
  const Result<void> ran = guarded([&] { return run(batch, outputs); });
  times.compute_end = now_ns();
  std::size_t first = 0;
  for (Pending& pending : batch) {
    const std::size_t count = pending.inquiry.encodings.size();
    if (pending.done && !ran) pending.done = ran;
    respond(pending, std::span(outputs).subspan(ran ? first : 0, ran ? count : 0));
    first += count;
    note_failure(checked(TRITONBACKEND_ModelInstanceReportStatistics(
        handle, pending.request, pending.done.has_value(), times.start, times.compute_start,
        times.compute_end, now_ns())));
    note_failure(
        checked(TRITONBACKEND_RequestRelease(pending.request, TRITONSERVER_REQUEST_RELEASE_ALL)));
  }
  if (texts == 0 || !ran) return;
  note_failure(checked(TRITONBACKEND_ModelInstanceReportBatchStatistics(
      handle, texts, times.start, times.compute_start, times.compute_end, now_ns())));
}

Result<Json> config_of(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelConfig(model, kConfigVersion, &message)));
  const char* text = nullptr;
  std::size_t bytes = 0;
  const Result<void> written = checked(TRITONSERVER_MessageSerializeToJson(message, &text, &bytes));
  Json config = written ? Json::parse(text, text + bytes, nullptr, false) : Json();
  RTAI_TRY_VOID(checked(TRITONSERVER_MessageDelete(message)));
  RTAI_TRY_VOID(written);
  if (!config.is_object()) return invalid_input("the configuration is not JSON");
  return config;
}

Result<void> set_config(TRITONBACKEND_Model* model, const Json& config) {
  const std::string text = tools::one_line(config);
  TRITONSERVER_Message* message = nullptr;
  RTAI_TRY_VOID(
      checked(TRITONSERVER_MessageNewFromSerializedJson(&message, text.data(), text.size())));
  const Result<void> set = checked(TRITONBACKEND_ModelSetConfig(model, kConfigVersion, message));
  RTAI_TRY_VOID(checked(TRITONSERVER_MessageDelete(message)));
  return set;
}

/// The folder of the model's version.
Result<std::filesystem::path> folder_of(TRITONBACKEND_Model* model) {
  TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  const char* location = nullptr;
  std::uint64_t version = 0;
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelRepository(model, &type, &location)));
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelVersion(model, &version)));
  if (type != TRITONBACKEND_ARTIFACT_FILESYSTEM)
    return unsupported("expected a model repository of files");
  return std::filesystem::path(location) / std::to_string(version);
}

Result<void> initialize_model(TRITONBACKEND_Model* handle) {
  RTAI_TRY(const std::filesystem::path folder, folder_of(handle));
  RTAI_TRY(Json config, config_of(handle));
  RTAI_TRY(std::unique_ptr<ServedModel> model, load_model(config, folder));
  bool may_complete = false;
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelAutoCompleteConfig(handle, &may_complete)));
  if (may_complete) {
    config = complete_config(std::move(config), model->tensors);
  }
  RTAI_TRY_VOID(check_config(config, model->tensors).in(folder.parent_path().string()));
  if (may_complete) RTAI_TRY_VOID(set_config(handle, config));
  model->outputs = output_names(config);
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelSetState(handle, model.get())));
  (void)model.release();  // TRITONBACKEND_ModelFinalize takes it back
  return {};
}

Result<void> initialize_instance(TRITONBACKEND_ModelInstance* handle) {
  TRITONBACKEND_Model* owner = nullptr;
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
  std::int32_t device = 0;
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelInstanceModel(handle, &owner)));
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelInstanceKind(handle, &kind)));
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelInstanceDeviceId(handle, &device)));
  RTAI_TRY(const ServedModel* model, model_of(owner));
  const bool on_gpu = kind == TRITONSERVER_INSTANCEGROUPKIND_GPU;
  RTAI_TRY(std::unique_ptr<Instance> instance,
           Instance::create(*model, on_gpu ? std::optional<int>(device) : std::nullopt));
  RTAI_TRY_VOID(checked(TRITONBACKEND_ModelInstanceSetState(handle, instance.get())));
  (void)instance.release();  // TRITONBACKEND_ModelInstanceFinalize takes it back
  return {};
}

Result<void> check_api() {
  std::uint32_t major = 0, minor = 0;
  RTAI_TRY_VOID(checked(TRITONBACKEND_ApiVersion(&major, &minor)));
  if (major == kApiMajor && minor >= kLeastApiMinor) return {};
  return unsupported("expected a server with version " + std::to_string(kApiMajor) + "." +
                     std::to_string(kLeastApiMinor) +
                     " or later of the interface for backends, found " + std::to_string(major) +
                     "." + std::to_string(minor));
}

/// Requests are put into a batch until it has the tokens it may have; the first always fits.
Result<void> include_request(ServedModel& model, TRITONBACKEND_Request* request, bool& include) {
  RTAI_TRY(const Index tokens, estimated_tokens(model, request));
  include =
      model.batch_estimate == 0 || model.batch_estimate + tokens <= model.settings.batch_tokens;
  if (include) model.batch_estimate += tokens;
  return {};
}

}  // namespace
}  // namespace rtai::triton

using rtai::Result;
using rtai::triton::answer;
using rtai::triton::checked;

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* /*backend*/) {
  return answer([] { return rtai::triton::check_api(); });
}

/// A CPU, unless the configuration's instance_group names a GPU.
TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend* /*backend*/,
                                                      TRITONBACKEND_BackendAttribute* attributes) {
  return TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
      attributes, TRITONSERVER_INSTANCEGROUPKIND_CPU, 1, nullptr, 0);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  return answer([=] { return rtai::triton::initialize_model(model); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  return answer([=]() -> Result<void> {
    RTAI_TRY(rtai::triton::ServedModel * state, rtai::triton::model_of(model));
    const std::unique_ptr<rtai::triton::ServedModel> owned(state);
    return {};
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance) {
  return answer([=] { return rtai::triton::initialize_instance(instance); });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance) {
  return answer([=]() -> Result<void> {
    void* state = nullptr;
    RTAI_TRY_VOID(checked(TRITONBACKEND_ModelInstanceState(instance, &state)));
    const std::unique_ptr<rtai::triton::Instance> owned(
        static_cast<rtai::triton::Instance*>(state));
    return {};
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests,
                                                       std::uint32_t count) {
  // An error from here would leave the requests to the server: there is none once execute() began.
  return answer([=]() -> Result<void> {
    void* state = nullptr;
    RTAI_TRY_VOID(checked(TRITONBACKEND_ModelInstanceState(instance, &state)));
    static_cast<rtai::triton::Instance*>(state)->execute(instance, {requests, count});
    return {};
  });
}

// The server looks for the following in batchstrategy.so, which is this library under that name. It
// calls them one at a time for a model, and may end a batch, or begin one, more often than the
// other.
TRITONSERVER_Error* TRITONBACKEND_ModelBatcherInitialize(TRITONBACKEND_Batcher** batcher,
                                                         TRITONBACKEND_Model* model) {
  return answer([=]() -> Result<void> {
    RTAI_TRY(rtai::triton::ServedModel * state, rtai::triton::model_of(model));
    *batcher = static_cast<TRITONBACKEND_Batcher*>(static_cast<void*>(state));
    return {};
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelBatcherFinalize(TRITONBACKEND_Batcher* /*batcher*/) {
  return nullptr;  // it is the model
}

TRITONSERVER_Error* TRITONBACKEND_ModelBatchInitialize(const TRITONBACKEND_Batcher* batcher,
                                                       void** batch) {
  *batch = const_cast<TRITONBACKEND_Batcher*>(batcher);
  static_cast<rtai::triton::ServedModel*>(*batch)->batch_estimate = 0;
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ModelBatchIncludeRequest(TRITONBACKEND_Request* request,
                                                           void* batch,
                                                           bool* include) {
  *include = true;
  if (batch == nullptr) return nullptr;  // a batch that was ended and goes on nevertheless
  return answer([=] {
    return rtai::triton::include_request(*static_cast<rtai::triton::ServedModel*>(batch), request,
                                         *include);
  });
}

TRITONSERVER_Error* TRITONBACKEND_ModelBatchFinalize(void* /*batch*/) {
  return nullptr;
}

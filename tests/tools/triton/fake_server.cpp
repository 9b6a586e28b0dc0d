#include "tests/tools/triton/fake_server.h"

namespace {

TRITONSERVER_Error* failure(TRITONSERVER_Error_Code code, const std::string& message) {
  ++fake_server().errors;
  return new TRITONSERVER_Error{code, message};
}

template <class T>
TRITONSERVER_Error* give(T* place, T value) {
  *place = std::move(value);
  return nullptr;
}

}  // namespace

FakeServer& fake_server() {
  static FakeServer server;
  return server;
}

TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message) {
  return failure(code, message);
}
void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error) {
  --fake_server().errors;
  delete error;
}
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) {
  return error->message.c_str();
}
TRITONSERVER_Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel, const char*, int, const char*) {
  return nullptr;
}
TRITONSERVER_Error* TRITONSERVER_MessageNewFromSerializedJson(TRITONSERVER_Message** message,
                                                              const char* json,
                                                              std::size_t bytes) {
  ++fake_server().messages;
  return give(message, new TRITONSERVER_Message{std::string(json, bytes)});
}
TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message* message,
                                                        const char** json,
                                                        std::size_t* bytes) {
  *bytes = message->json.size();
  return give(json, message->json.c_str());
}
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message* message) {
  --fake_server().messages;
  delete message;
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ApiVersion(std::uint32_t* major, std::uint32_t* minor) {
  *major = fake_server().api_major;
  return give(minor, fake_server().api_minor);
}
TRITONSERVER_Error* TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
    TRITONBACKEND_BackendAttribute*,
    TRITONSERVER_InstanceGroupKind,
    std::uint64_t,
    const std::uint64_t*,
    std::uint64_t) {
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ModelVersion(TRITONBACKEND_Model*, std::uint64_t* version) {
  return give(version, std::uint64_t{1});
}
TRITONSERVER_Error* TRITONBACKEND_ModelRepository(TRITONBACKEND_Model* model,
                                                  TRITONBACKEND_ArtifactType* type,
                                                  const char** location) {
  *type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  return give(location, model->folder.c_str());
}
TRITONSERVER_Error* TRITONBACKEND_ModelConfig(TRITONBACKEND_Model* model,
                                              std::uint32_t,
                                              TRITONSERVER_Message** config) {
  ++fake_server().messages;
  return give(config, new TRITONSERVER_Message{model->config});
}
TRITONSERVER_Error* TRITONBACKEND_ModelAutoCompleteConfig(TRITONBACKEND_Model* model,
                                                          bool* wanted) {
  return give(wanted, model->may_complete);
}
TRITONSERVER_Error* TRITONBACKEND_ModelSetConfig(TRITONBACKEND_Model* model,
                                                 std::uint32_t,
                                                 TRITONSERVER_Message* config) {
  model->config = config->json;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelState(TRITONBACKEND_Model* model, void** state) {
  return give(state, model->state);
}
TRITONSERVER_Error* TRITONBACKEND_ModelSetState(TRITONBACKEND_Model* model, void* state) {
  model->state = state;
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceKind(TRITONBACKEND_ModelInstance*,
                                                    TRITONSERVER_InstanceGroupKind* kind) {
  return give(kind, TRITONSERVER_INSTANCEGROUPKIND_CPU);
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceDeviceId(TRITONBACKEND_ModelInstance*,
                                                        std::int32_t* device) {
  return give(device, std::int32_t{0});
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance* instance,
                                                     TRITONBACKEND_Model** model) {
  return give(model, instance->model);
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceState(TRITONBACKEND_ModelInstance* instance,
                                                     void** state) {
  return give(state, instance->state);
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance* instance,
                                                        void* state) {
  instance->state = state;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance*,
                                                                TRITONBACKEND_Request* request,
                                                                bool success,
                                                                std::uint64_t start,
                                                                std::uint64_t compute_start,
                                                                std::uint64_t compute_end,
                                                                std::uint64_t end) {
  const bool in_order =
      start <= compute_start && compute_start <= compute_end && compute_end <= end;
  if (in_order && request->releases == 0 && success == request->error.empty()) ++request->reports;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(TRITONBACKEND_ModelInstance*,
                                                                     std::uint64_t batch_size,
                                                                     std::uint64_t,
                                                                     std::uint64_t,
                                                                     std::uint64_t,
                                                                     std::uint64_t) {
  fake_server().batches.push_back(batch_size);
  return nullptr;
}

TRITONSERVER_Error* TRITONBACKEND_RequestInputCount(TRITONBACKEND_Request* request,
                                                    std::uint32_t* count) {
  return give(count, static_cast<std::uint32_t>(request->inputs.size()));
}
TRITONSERVER_Error* TRITONBACKEND_RequestInputByIndex(TRITONBACKEND_Request* request,
                                                      std::uint32_t index,
                                                      TRITONBACKEND_Input** input) {
  return give(input, &request->inputs.at(index));
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request* request,
                                                     std::uint32_t* count) {
  return give(count, static_cast<std::uint32_t>(request->outputs.size()));
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request* request,
                                                    std::uint32_t index,
                                                    const char** name) {
  return give(name, request->outputs.at(index).c_str());
}
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request,
                                                 std::uint32_t flags) {
  if (flags == TRITONSERVER_REQUEST_RELEASE_ALL) ++request->releases;
  return nullptr;
}
TRITONSERVER_Error* TRITONBACKEND_InputProperties(TRITONBACKEND_Input* input,
                                                  const char** name,
                                                  TRITONSERVER_DataType* type,
                                                  const std::int64_t** shape,
                                                  std::uint32_t* dims_count,
                                                  std::uint64_t* bytes,
                                                  std::uint32_t* buffer_count) {
  *name = input->name.c_str();
  *type = input->type;
  *shape = input->shape.data();
  *dims_count = static_cast<std::uint32_t>(input->shape.size());
  *bytes = 0;
  for (const std::string& piece : input->pieces)
    *bytes += piece.size();
  return give(buffer_count, static_cast<std::uint32_t>(input->pieces.size()));
}
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(TRITONBACKEND_Input* input,
                                              std::uint32_t index,
                                              const void** buffer,
                                              std::uint64_t* bytes,
                                              TRITONSERVER_MemoryType* memory,
                                              std::int64_t*) {
  const std::string& piece = input->pieces.at(index);
  *buffer = piece.data();
  *bytes = piece.size();
  return give(memory, input->memory);
}

TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response,
                                              TRITONBACKEND_Request* request) {
  return give(response, new TRITONBACKEND_Response{request});
}
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response* response,
                                                 TRITONBACKEND_Output** output,
                                                 const char* name,
                                                 TRITONSERVER_DataType type,
                                                 const std::int64_t* shape,
                                                 std::uint32_t dims_count) {
  TRITONBACKEND_Output& made = response->request->answer[name];
  made.type = type;
  made.shape.assign(shape, shape + dims_count);
  return give(output, &made);
}
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output* output,
                                               void** buffer,
                                               std::uint64_t bytes,
                                               TRITONSERVER_MemoryType*,
                                               std::int64_t*) {
  output->bytes.resize(bytes);
  return give(buffer, static_cast<void*>(output->bytes.data()));
}
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response* response,
                                               std::uint32_t,
                                               TRITONSERVER_Error* error) {
  if (error != nullptr) response->request->error = error->message;
  ++response->request->responses;
  delete response;
  return nullptr;
}

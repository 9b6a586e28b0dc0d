// A server just large enough to load the backend and ask it: the functions of
// tools/triton/triton_api.h that a server defines, on plain objects.
#pragma once

#include "tools/triton/triton_api.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};

struct TRITONSERVER_Message {
  std::string json;
};

struct TRITONBACKEND_Model {
  std::string folder;
  std::string config = "{}";
  bool may_complete = true;
  void* state = nullptr;
};

struct TRITONBACKEND_ModelInstance {
  TRITONBACKEND_Model* model = nullptr;
  void* state = nullptr;
};

struct TRITONBACKEND_Input {
  std::string name;
  TRITONSERVER_DataType type;
  std::vector<std::int64_t> shape;
  std::vector<std::string> pieces;  // the data, one behind the other
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
};

struct TRITONBACKEND_Output {
  TRITONSERVER_DataType type = {};
  std::vector<std::int64_t> shape = {};
  std::string bytes = {};
};

/// A request with what became of it.
struct TRITONBACKEND_Request {
  std::vector<TRITONBACKEND_Input> inputs;
  std::vector<std::string> outputs;
  std::map<std::string, TRITONBACKEND_Output> answer = {};
  std::string error = {};
  int responses = 0;
  int releases = 0;
  int reports = 0;
};

struct TRITONBACKEND_Response {
  TRITONBACKEND_Request* request;
};

/// Of the server there is one.
struct FakeServer {
  std::uint32_t api_major = 1, api_minor = 19;
  std::vector<std::uint64_t> batches = {};  // as reported
  int errors = 0;                           // that nobody released yet
  int messages = 0;                         // likewise
};
FakeServer& fake_server();

#include "tools/triton/status.h"

namespace rtai::triton {
namespace {

TRITONSERVER_Error_Code code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_input:
      return TRITONSERVER_ERROR_INVALID_ARG;
    case ErrorCode::not_found:
      return TRITONSERVER_ERROR_NOT_FOUND;
    case ErrorCode::unsupported:
      return TRITONSERVER_ERROR_UNSUPPORTED;
    case ErrorCode::device:
      return TRITONSERVER_ERROR_UNAVAILABLE;
    default:
      return TRITONSERVER_ERROR_INTERNAL;
  }
}

}  // namespace

Result<void> checked(TRITONSERVER_Error* error) {
  if (error == nullptr) return {};
  Error result{ErrorCode::internal, TRITONSERVER_ErrorMessage(error)};
  TRITONSERVER_ErrorDelete(error);
  return result;
}

TRITONSERVER_Error* to_triton(const Error& error) {
  return TRITONSERVER_ErrorNew(code_of(error.code()), error.message().c_str());
}

}  // namespace rtai::triton

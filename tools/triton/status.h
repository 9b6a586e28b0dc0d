// Between rtai's results and Triton's errors.
#pragma once

#include "runtime/base/result.h"
#include "tools/triton/triton_api.h"

#include <exception>
#include <new>

namespace rtai::triton {

/// What a call into the server said; its error is released.
Result<void> checked(TRITONSERVER_Error* error);

/// The same for the server, which gets the error.
TRITONSERVER_Error* to_triton(const Error& error);

/// Calls what returns a Result<void>; no exception gets further.
template <class F>
Result<void> guarded(F&& call) noexcept {
  try {
    return call();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory"};
  } catch (const std::exception&) {  // its words might be a request's
    return Error{ErrorCode::internal, "a defect in rtai; please report it"};
  }
}

}  // namespace rtai::triton

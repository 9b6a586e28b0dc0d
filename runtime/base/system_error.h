// What an error number of the operating system means.
#pragma once

#include "runtime/base/result.h"

#include <cerrno>

namespace rtai {

/// `otherwise`, but for want of memory: that says nothing of the file.
inline ErrorCode error_code(int number, ErrorCode otherwise = ErrorCode::io) {
  return number == ENOMEM ? ErrorCode::device : otherwise;
}

}  // namespace rtai

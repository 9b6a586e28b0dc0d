// The program from its words to its exit code; what is about the process is in main.cpp.
#pragma once

#include "runtime/base/result.h"

namespace rtai::tools {

/// Parses the words, does what they ask for and returns the exit code.
int run_program(int argc, char** argv);

/// Says on standard error what went wrong; the exit code of it.
int report(const Error& error);

}  // namespace rtai::tools

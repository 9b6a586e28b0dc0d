// What values of flags may look like, beyond what CLI11 brings: each is given to an option's
// check() or transform().
#pragma once

namespace CLI {
class Validator;
}  // namespace CLI

namespace rtai::tools {

/// A finite number above 0.
CLI::Validator above_zero();

/// A time: 5ms, 0.2s, 300us; a number alone is milliseconds. Becomes a number of milliseconds.
CLI::Validator as_milliseconds();

/// A time: 30s, 2min, 500ms; a number alone is seconds. Becomes a number of seconds.
CLI::Validator as_seconds();

/// A count: 15M, 200K; a number alone is itself.
CLI::Validator as_count();

}  // namespace rtai::tools

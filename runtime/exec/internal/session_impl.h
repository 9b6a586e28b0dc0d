// What every kind of session does; Session hides which one it has.
#pragma once

#include "runtime/exec/session.h"

namespace rtai {

class Session::Impl {
 public:
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  virtual ~Impl() = default;

  virtual Result<void> run(const Batch& batch) = 0;
  virtual TensorView<const float> output(std::size_t i) const = 0;
  virtual const engine::Engine& engine() const = 0;
  virtual int threads() const = 0;
  virtual std::string_view target() const = 0;
  virtual Index memory_bytes() const = 0;
  virtual std::vector<std::string> kernel_names() const = 0;
  virtual double device_ms() const = 0;
  virtual std::vector<StepProfile> take_profile() = 0;
};

}  // namespace rtai

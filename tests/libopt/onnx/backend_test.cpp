// ONNX's own backend test cases: every one is computed as expected or refused with a reason.
#include "libopt/onnx/import.h"
#include "libopt/reference/interpret.h"
#include "runtime/base/mapped_file.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>

namespace rtai {
namespace {

namespace fs = std::filesystem;

// The tolerances of ONNX's runner (onnx/backend/test/loader).
constexpr double kRelative = 1e-3;
constexpr double kAbsolute = 1e-7;

/// The folder of Debian's libonnx-testdata, or that of another release in RTAI_ONNX_TESTDATA.
fs::path data_folder() {
  const char* folder = std::getenv("RTAI_ONNX_TESTDATA");
  return folder == nullptr ? "/usr/share/libonnx-testdata/data" : folder;
}

/// input_0.pb, input_1.pb, ... of one set of test data.
Result<std::vector<ir::Tensor>> read_tensors(const fs::path& folder, std::string_view kind) {
  std::vector<ir::Tensor> tensors;
  while (true) {
    const fs::path path = folder / fmt::format("{}_{}.pb", kind, tensors.size());
    if (!fs::exists(path)) return tensors;
    RTAI_TRY(const MappedFile file, MappedFile::open(path));
    RTAI_TRY(ir::Tensor tensor, onnx_io::read_tensor(file.bytes()).in(path.filename().string()));
    tensors.push_back(std::move(tensor));
  }
}

/// ONNX records bfloat16 as the bits in a tensor of uint16.
ir::Tensor recorded_as(const ir::Tensor& tensor, DType dtype) {
  if (tensor.dtype() != DType::u16 || dtype != DType::bf16) return tensor;
  const auto owner = std::make_shared<const ir::Tensor>(tensor);
  return ir::Tensor::borrow(DType::bf16, tensor.dims(), owner, owner->bytes());
}

bool is_real(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

/// Two roundings of the element type, where that is coarser than what the runner allows.
double relative_tolerance(DType dtype) {
  if (dtype == DType::bf16) return 0x1p-7;
  return dtype == DType::f16 ? 0x1p-9 : kRelative;
}

bool same_number(double actual, double expected, double relative) {
  if (std::isnan(expected)) return std::isnan(actual);
  if (std::isinf(expected)) return actual == expected;
  return std::abs(actual - expected) <= kAbsolute + relative * std::abs(expected);
}

/// What is wrong with a result; empty if nothing is.
std::string difference(const ir::Tensor& actual, const ir::Tensor& expected) {
  if (actual.dtype() != expected.dtype() || actual.dims() != expected.dims()) {
    return fmt::format("{}{}, expected {}{}", dtype_name(actual.dtype()),
                       ir::to_string(actual.dims()), dtype_name(expected.dtype()),
                       ir::to_string(expected.dims()));
  }
  if (!is_real(expected.dtype())) return actual == expected ? "" : "integers differ";
  const double relative = relative_tolerance(expected.dtype());
  for (Index i = 0; i < expected.elements(); ++i) {
    if (!same_number(actual.value(i), expected.value(i), relative)) {
      return fmt::format("element {} is {}, expected {}", i, actual.value(i), expected.value(i));
    }
  }
  return "";
}

enum class Outcome { matched, refused, wrong };

struct Report {
  Outcome outcome;
  std::string reason;
};

Report run_set(const ir::Graph& graph, const fs::path& folder) {
  auto inputs = read_tensors(folder, "input");
  if (!inputs) return {Outcome::refused, inputs.error().message()};
  const auto expected = read_tensors(folder, "output");
  if (!expected) return {Outcome::refused, expected.error().message()};
  for (std::size_t i = 0; i < std::min(inputs->size(), graph.inputs().size()); ++i) {
    inputs->at(i) = recorded_as(inputs->at(i), graph.type(graph.inputs()[i]).dtype);
  }
  const auto outputs = reference::interpret(graph, *inputs);
  if (!outputs) return {Outcome::wrong, outputs.error().message()};
  if (outputs->size() != expected->size()) return {Outcome::wrong, "number of outputs"};
  for (std::size_t i = 0; i < outputs->size(); ++i) {
    const std::string reason =
        difference(outputs->at(i), recorded_as(expected->at(i), outputs->at(i).dtype()));
    if (!reason.empty()) return {Outcome::wrong, fmt::format("output {}: {}", i, reason)};
  }
  return {Outcome::matched, ""};
}

Report run_case(const fs::path& folder) {
  const auto graph = onnx_io::import_onnx(folder / "model.onnx");
  if (!graph && graph.error().code() == ErrorCode::unsupported) {
    return {Outcome::refused, graph.error().message()};
  }
  if (!graph) return {Outcome::wrong, graph.error().message()};
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.is_directory()) continue;
    const Report report = run_set(*graph, entry.path());
    if (report.outcome != Outcome::matched) return report;
  }
  return {Outcome::matched, ""};
}

std::vector<fs::path> cases_in(const fs::path& folder) {
  std::vector<fs::path> cases;
  if (!fs::is_directory(folder)) return cases;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (fs::exists(entry.path() / "model.onnx")) cases.push_back(entry.path());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

/// Cases whose recorded answer is not one, with the reason.
std::string_view defect(std::string_view name) {
  struct Defect {
    std::string_view name;  // a * at the end stands for anything
    std::string_view reason;
  };
  constexpr auto kDefects = std::to_array<Defect>({
      {"test_training_dropout*", "its answer depends on a random generator"},
      {"test_dropout_random*", "its answer depends on a random generator"},
      {"test_cast_FLOAT_to_BFLOAT16", "release 1.12 cut bfloat16 off where the standard rounds"},
      {"test_castlike_FLOAT_to_BFLOAT16*", "as above"},
      {"test_castlike_BFLOAT16_to_FLOAT", "its input has other dimensions than it declares"},
  });
  for (const Defect& known : kDefects) {
    const bool family = known.name.ends_with('*');
    const std::string_view stem = known.name.substr(0, known.name.size() - (family ? 1 : 0));
    if (family ? name.starts_with(stem) : name == stem) return known.reason;
  }
  return "";
}

TEST_CASE("ONNX's backend test cases are computed as recorded or refused", "[slow]") {
  if (!fs::is_directory(data_folder())) {
    WARN("skipped: " << data_folder() << " is missing (Debian package libonnx-testdata)");
    return;
  }
  std::map<Outcome, int> counts;
  int defective = 0;
  for (const char* group : {"node", "simple", "pytorch-operator", "pytorch-converted"}) {
    for (const fs::path& folder : cases_in(data_folder() / group)) {
      const std::string name = folder.filename().string();
      if (!defect(name).empty()) {
        ++defective;
        continue;
      }
      const Report report = run_case(folder);
      ++counts[report.outcome];
      if (report.outcome == Outcome::wrong)
        FAIL_CHECK(group << "/" << name << ": " << report.reason);
      if (std::getenv("RTAI_LIST_REFUSED") != nullptr && report.outcome == Outcome::refused) {
        WARN(group << "/" << name << ": " << report.reason);
      }
    }
  }
  WARN(fmt::format("{} run, {} matched, {} refused, {} defective",
                   counts[Outcome::matched] + counts[Outcome::wrong], counts[Outcome::matched],
                   counts[Outcome::refused], defective));
  CHECK(counts[Outcome::matched] > 400);
}

}  // namespace
}  // namespace rtai

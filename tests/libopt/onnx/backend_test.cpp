// ONNX's own backend test cases: every one is computed as expected or refused with a reason.
#include "libopt/onnx/import.h"
#include "libopt/onnx/outline.h"
#include "libopt/reference/interpret.h"
#include "runtime/base/mapped_file.h"
#include "tests/support/file.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
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

/// NaN has many codes; all else must be the same code.
bool same_codes(const ir::Tensor& actual, const ir::Tensor& expected) {
  for (Index i = 0; i < expected.elements(); ++i) {
    const bool same = actual.bytes()[static_cast<std::size_t>(i)] ==
                      expected.bytes()[static_cast<std::size_t>(i)];
    if (!same && !(std::isnan(actual.value(i)) && std::isnan(expected.value(i)))) return false;
  }
  return true;
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
  if (ir::is_small_float(expected.dtype()))
    return same_codes(actual, expected) ? "" : "codes of floats differ";
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

/// Operators that exports of encoders are made of (all of tests/peers/export_models.py), with those
/// of older exporters and of pooling.
constexpr std::string_view kOfEncoders =
    " Abs Add And Attention Cast Ceil Clip Concat Constant ConstantOfShape CumSum Div Dropout "
    "Einsum Equal Erf Exp Expand Flatten Gather GatherElements GatherND Gelu Gemm Greater "
    "GreaterOrEqual Identity If IsNaN LayerNormalization Less LessOrEqual Log MatMul Max Min Mul "
    "Neg Not Pow Range ReduceL2 ReduceMean ReduceSum Relu Reshape Shape Sigmoid Sign Slice Softmax "
    "Split Sqrt Squeeze Sub Tanh Tile Transpose Unsqueeze Where ";

bool is_of_encoders(const std::string& op) {
  return kOfEncoders.find(" " + op + " ") != std::string_view::npos;
}

/// Cases by outcome.
struct Tally {
  int matched = 0;
  int refused = 0;
  int foreign = 0;  // of those refused: for what their values are
  int wrong = 0;
  int defective = 0;
  std::string first_reason = {};

  int cases() const { return matched + refused + wrong; }
  double share() const { return matched / std::max(1.0, static_cast<double>(cases())); }
  double share_of_own() const {
    return matched / std::max(1.0, static_cast<double>(cases() - foreign));
  }
};

/// Texts and sequences: no encoder has them.
bool is_about_values(const std::string& reason) {
  return reason.find("element type") != std::string::npos ||
         reason.find("it is no tensor") != std::string::npos;
}

/// Where a case counts: its operator, or none for several of them.
std::string operator_of(const fs::path& folder) {
  const auto outline = onnx_io::outline_onnx(folder / "model.onnx");
  if (!outline) return "";
  return outline->operators.size() == 1 ? outline->operators.begin()->first : "";
}

using Tallies = std::map<std::string, Tally>;

/// Nothing that depends on where the data lie, no `|` that would end a column.
std::string cell(std::string text) {
  constexpr std::size_t kLongest = 110;
  std::replace(text.begin(), text.end(), '|', '/');
  return text.size() > kLongest ? text.substr(0, kLongest) + "..." : text;
}

std::string table(const Tallies& tallies, bool of_encoders) {
  std::string text =
      "| operator | cases | match | refused | the first refusal |\n"
      "| --- | ---: | ---: | ---: | --- |\n";
  for (const auto& [op, tally] : tallies) {
    if (op.empty() || is_of_encoders(op) != of_encoders || tally.cases() == 0) continue;
    if (!of_encoders && tally.matched == 0) continue;
    text += fmt::format("| {} | {} | {} | {} | {} |\n", op, tally.cases(), tally.matched,
                        tally.refused, cell(tally.first_reason));
  }
  return text;
}

/// "A, B (2), ...": operators of which no case is accepted.
std::string lacking(const Tallies& tallies) {
  std::string text;
  for (const auto& [op, tally] : tallies) {
    if (op.empty() || tally.matched > 0 || is_of_encoders(op)) continue;
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", op, tally.refused);
  }
  return text;
}

/// Of all operators, or of those of encoders.
Tally sum_of(const Tallies& tallies, bool of_encoders) {
  Tally sum;
  for (const auto& [op, tally] : tallies) {
    if (of_encoders && !is_of_encoders(op)) continue;
    sum.matched += tally.matched;
    sum.refused += tally.refused;
    sum.foreign += tally.foreign;
    sum.wrong += tally.wrong;
    sum.defective += tally.defective;
  }
  return sum;
}

std::string section(const std::string& release, const Tallies& tallies) {
  const Tally all = sum_of(tallies, false);
  const Tally own = sum_of(tallies, true);
  const Tally none;
  const Tally& several = tallies.contains("") ? tallies.at("") : none;
  std::string text = fmt::format("## {}\n\n", release);
  text += fmt::format("{} cases: {} match, {} are refused with a reason, {} are wrong; ",
                      all.cases(), all.matched, all.refused, all.wrong);
  text += fmt::format("{} more have no answer that could be\ncompared. ", all.defective);
  text += fmt::format(
      "Of the operators that exports of encoders use, {} of {} cases match ({:.1f} %). ",
      own.matched, own.cases(), 100 * own.share());
  text += fmt::format(
      "{} are\nabout values that rtai lacks (texts, sequences): without them {:.1f} %.\n",
      own.foreign, 100 * own.share_of_own());
  text +=
      fmt::format("{} cases of several operators are in none of the tables; {} of them match.\n\n",
                  several.cases(), several.matched);
  text += fmt::format("Operators of encoders:\n\n{}\n", table(tallies, true));
  text += fmt::format("Further operators that are accepted:\n\n{}\n", table(tallies, false));
  text += fmt::format("Operators of which every case is refused (with how many): {}.\n",
                      lacking(tallies));
  return text;
}

/// Puts `text` in the place of the section of the same heading, or at the end.
void write_section(const fs::path& path, const std::string& text) {
  std::string page = testing::text_of(path);
  const std::string heading = text.substr(0, text.find('\n') + 1);
  const std::size_t begin = page.find(heading);
  if (begin == std::string::npos) {
    page += "\n" + text;
  } else {
    const std::size_t end = page.find("\n## ", begin);
    page.replace(begin, end == std::string::npos ? end : end + 1 - begin,
                 text + (end == std::string::npos ? "" : "\n"));
  }
  std::ofstream(path) << page;
}

TEST_CASE("ONNX's backend test cases are computed as recorded or refused", "[slow]") {
  if (!fs::is_directory(data_folder())) {
    WARN("skipped: " << data_folder() << " is missing (Debian package libonnx-testdata)");
    return;
  }
  Tallies tallies;
  for (const char* group : {"node", "simple", "pytorch-operator", "pytorch-converted"}) {
    for (const fs::path& folder : cases_in(data_folder() / group)) {
      const std::string name = folder.filename().string();
      Tally& tally = tallies[operator_of(folder)];
      if (!defect(name).empty()) {
        ++tally.defective;
        continue;
      }
      const Report report = run_case(folder);
      tally.matched += report.outcome == Outcome::matched ? 1 : 0;
      tally.refused += report.outcome == Outcome::refused ? 1 : 0;
      tally.wrong += report.outcome == Outcome::wrong ? 1 : 0;
      tally.foreign += report.outcome == Outcome::refused && is_about_values(report.reason) ? 1 : 0;
      if (report.outcome == Outcome::wrong)
        FAIL_CHECK(group << "/" << name << ": " << report.reason);
      if (report.outcome == Outcome::refused && tally.first_reason.empty())
        tally.first_reason = report.reason;
      if (std::getenv("RTAI_LIST_REFUSED") != nullptr && report.outcome == Outcome::refused) {
        WARN(group << "/" << name << ": " << report.reason);
      }
    }
  }
  CHECK(sum_of(tallies, true).share() >= 0.95);
  const char* release = std::getenv("RTAI_ONNX_RELEASE");
  const std::string text =
      section(release == nullptr ? "Release 1.12.0, Debian's libonnx-testdata" : release, tallies);
  const fs::path page = fs::path(RTAI_SOURCE_DIR) / "docs" / "onnx-coverage.md";
  if (std::getenv("RTAI_WRITE_DOCS") != nullptr) write_section(page, text);
  INFO("docs/onnx-coverage.md is out of date; RTAI_WRITE_DOCS=1 makes this test write it:\n"
       << text);
  CHECK(testing::text_of(page).find(text) != std::string::npos);
}

}  // namespace
}  // namespace rtai

#include "tools/sweep.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>

namespace rtai::tools {
namespace {

constexpr int kLargest = 1 << 16;
constexpr std::size_t kMostWorkloads = 1000;

Error wrong(std::string_view part) {
  return {
      ErrorCode::invalid_input,
      fmt::format("--sweep: expected batch, seq, threads or streams with values, as in 'batch=1,8 "
                  "seq=16..512*2', found '{}'",
                  part)};
}

Result<int> number_of(std::string_view text) {
  int number = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc{} || stop != text.data() + text.size() || number < 1 || number > kLargest)
    return wrong(text);
  return number;
}

/// "16..512*2": from, to, and how to go on.
Result<std::vector<int>> range_of(std::string_view text) {
  const std::size_t dots = text.find("..");
  const std::size_t sign = text.find_first_of("*+", dots);
  if (sign == std::string_view::npos) return wrong(text);
  RTAI_TRY(const int from, number_of(text.substr(0, dots)));
  RTAI_TRY(const int to, number_of(text.substr(dots + 2, sign - dots - 2)));
  RTAI_TRY(const int step, number_of(text.substr(sign + 1)));
  const bool is_product = text[sign] == '*';
  if (from > to || (is_product && step < 2)) return wrong(text);
  std::vector<int> values;
  for (int value = from; value <= to && values.size() <= kMostWorkloads;
       value = is_product ? value * step : value + step)
    values.push_back(value);
  return values;
}

Result<std::vector<int>> values_of(std::string_view list) {
  std::vector<int> values;
  while (true) {
    const std::size_t comma = list.find(',');
    const std::string_view one = list.substr(0, comma);
    if (one.find("..") != std::string_view::npos) {
      RTAI_TRY(const std::vector<int> more, range_of(one));
      values.insert(values.end(), more.begin(), more.end());
    } else {
      RTAI_TRY(const int value, number_of(one));
      values.push_back(value);
    }
    if (comma == std::string_view::npos) return values;
    list.remove_prefix(comma + 1);
  }
}

int* dimension_of(Workload& workload, std::string_view name) {
  if (name == "batch") return &workload.batch;
  if (name == "seq") return &workload.seq;
  if (name == "threads") return &workload.threads;
  if (name == "streams") return &workload.streams;
  return nullptr;
}

}  // namespace

Result<std::vector<Workload>> parse_sweep(const std::string& text, const Workload& base) {
  std::vector<Workload> workloads = {base};
  std::istringstream parts(text);
  std::string part;
  while (parts >> part) {
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos) return wrong(part);
    const std::string name = part.substr(0, equals);
    RTAI_TRY(const std::vector<int> values, values_of(std::string_view(part).substr(equals + 1)));
    std::vector<Workload> combined;
    for (const Workload& workload : workloads) {
      for (const int value : values) {
        Workload one = workload;
        int* dimension = dimension_of(one, name);
        if (dimension == nullptr) return wrong(part);
        if (name == "seq" && !base.lengths.empty())
          return Error{ErrorCode::invalid_input, "--sweep: seq and --lengths exclude each other"};
        *dimension = value;
        combined.push_back(std::move(one));
      }
    }
    workloads = std::move(combined);
    if (workloads.size() > kMostWorkloads)
      return Error{ErrorCode::invalid_input,
                   fmt::format("--sweep: more than {} workloads", kMostWorkloads)};
  }
  if (workloads.size() == 1 && text.find('=') == std::string::npos) return wrong(text);
  return workloads;
}

}  // namespace rtai::tools

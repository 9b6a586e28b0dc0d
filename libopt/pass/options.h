// Options of passes: a struct with defaults, each field described once.
//
//   struct Options {
//     double ratio = 0.25;
//     int min_heads = 1;
//
//     static constexpr auto fields() {
//       return std::tuple{
//           option("ratio", &Options::ratio, Range{0, 1}, "fraction of heads to drop"),
//           option("min-heads", &Options::min_heads, Range{1, 1e3}, "heads kept in every layer")};
//     }
//   };
#pragma once

#include "runtime/base/result.h"

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

namespace rtai {

/// Option names and their values as text, as they stand in a pipeline.
using OptionValues = std::map<std::string, std::string>;

/// Inclusive bounds of a number.
struct Range {
  double low = -1e300;
  double high = 1e300;
};

template <class Options, class T>
struct OptionField {
  std::string_view name;  // kebab-case
  T Options::*member;
  Range range;
  std::string_view help;
};

template <class Options, class T>
constexpr OptionField<Options, T> option(std::string_view name,
                                         T Options::*member,
                                         Range range,
                                         std::string_view help) {
  return {name, member, range, help};
}
template <class Options, class T>
constexpr OptionField<Options, T> option(std::string_view name,
                                         T Options::*member,
                                         std::string_view help) {
  return {name, member, Range{}, help};
}

/// One option as `rtai passes` shows it.
struct OptionInfo {
  std::string_view name;
  std::string default_value;
  std::string_view help;
};

namespace internal {

/// Errors: invalid_input, with the option, what was expected and what was found.
Result<double> parse_number(std::string_view option,
                            std::string_view text,
                            Range range,
                            bool whole);
Result<bool> parse_bool(std::string_view option, std::string_view text);
Error unknown_option(std::string_view name, const std::vector<std::string_view>& known);
std::string print_option(double value);

template <class T>
Result<T> parse_option(std::string_view option, const std::string& text, Range range) {
  if constexpr (std::is_same_v<T, std::string>) {
    return text;
  } else if constexpr (std::is_same_v<T, bool>) {
    return parse_bool(option, text);
  } else {
    RTAI_TRY(const double number, parse_number(option, text, range, std::is_integral_v<T>));
    return static_cast<T>(number);
  }
}

template <class T>
std::string print_value(const T& value) {
  if constexpr (std::is_same_v<T, std::string>)
    return value;
  else if constexpr (std::is_same_v<T, bool>)
    return value ? "true" : "false";
  else
    return print_option(static_cast<double>(value));
}

}  // namespace internal

/// Sets the fields that `values` names, all others to their defaults.
///
/// Errors: invalid_input for an unknown option or a value outside its range.
template <class Options>
Result<Options> parse_options(const OptionValues& values) {
  Options options;
  for (const auto& value_of : values) {
    // (Not a structured binding: clang 14 captures none.)
    const std::string& name = value_of.first;
    const std::string& text = value_of.second;
    Result<void> status;
    bool known = false;
    std::vector<std::string_view> names;
    std::apply(
        [&](const auto&... field) {
          [[maybe_unused]] const auto try_field = [&](const auto& f) {
            names.push_back(f.name);
            if (f.name != name) return;
            known = true;
            using T = std::remove_reference_t<decltype(options.*f.member)>;
            auto value = internal::parse_option<T>(f.name, text, f.range);
            if (value)
              options.*f.member = *std::move(value);
            else
              status = std::move(value).error();
          };
          (try_field(field), ...);
        },
        Options::fields());
    if (!known) return internal::unknown_option(name, names);
    if (!status) return std::move(status).error();
  }
  return options;
}

template <class Options>
std::vector<OptionInfo> describe_options() {
  std::vector<OptionInfo> described;
  const Options defaults;
  std::apply(
      [&](const auto&... field) {
        (described.push_back(
             {field.name, internal::print_value(defaults.*field.member), field.help}),
         ...);
      },
      Options::fields());
  return described;
}

}  // namespace rtai

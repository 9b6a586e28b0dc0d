#include "tools/report/junit.h"

#include "tools/report/page.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {

std::string junit_xml(const std::string& suite, const std::vector<JunitCase>& cases) {
  const auto failures =
      std::ranges::count_if(cases, [](const JunitCase& one) { return one.failure.has_value(); });
  std::string xml = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" "
      "failures=\"{}\">\n",
      escape_markup(suite), cases.size(), failures);
  for (const JunitCase& one : cases) {
    xml += fmt::format("  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\"",
                       escape_markup(suite), escape_markup(one.name), one.seconds);
    xml += one.failure
               ? fmt::format("><failure message=\"{}\"/></testcase>\n", escape_markup(*one.failure))
               : "/>\n";
  }
  return xml + "</testsuite>\n";
}

}  // namespace rtai::tools

// Gates as JUnit XML, which GitLab, Jenkins, Azure and GitHub reporters read alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

struct JunitCase {
  std::string name;
  std::optional<std::string> failure;  // one line; nothing: passed
  double seconds = 0;
};

std::string junit_xml(const std::string& suite, const std::vector<JunitCase>& cases);

}  // namespace rtai::tools

#include "tools/written_files.h"

#include "tools/cli_description.h"
#include "tools/model_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace rtai::tools {
namespace {

namespace fs = std::filesystem;

struct NamedFile {
  std::string flag;
  std::string name;
  bool is_written = false;
  std::vector<fs::path> places;  // where it, or the graph of a model in this folder, lies
};

void add_places(NamedFile& file, bool may_be_model) {
  std::vector<fs::path> names = {file.name};
  if (may_be_model) {
    for (const char* graph : kGraphFiles)
      names.push_back(fs::path(file.name) / graph);
  }
  for (const fs::path& name : names) {
    std::error_code failed;
    fs::path place = fs::weakly_canonical(name, failed);
    if (place.filename().empty()) place = place.parent_path();  // of "folder/"
    if (!failed && !fs::is_other(place, failed)) file.places.push_back(std::move(place));
  }
}

void add_files(const CLI::Option& option, std::vector<NamedFile>& files) {
  const bool is_model = is_positional(option);
  const std::string type = option.get_type_name();
  const bool is_written = type == kWrittenFile;
  if (option.count() == 0 || (!is_model && !is_written && type != "FILE")) return;
  const std::string flag = is_model ? option.get_single_name() : "--" + option.get_lnames().front();
  for (const std::string& name : option.results()) {
    if (name == "-" || name.empty()) continue;
    NamedFile file{.flag = flag, .name = name, .is_written = is_written, .places = {}};
    add_places(file, is_model || flag == "--output");
    files.push_back(std::move(file));
  }
}

bool is_same(const NamedFile& a, const NamedFile& b) {
  return std::ranges::any_of(a.places, [&](const fs::path& place) {
    return std::ranges::find(b.places, place) != b.places.end();
  });
}

}  // namespace

Result<void> check_written_files(const CLI::App& app) {
  std::vector<NamedFile> files;
  const auto add = [&](const CLI::Option& option, const CLI::App&) { add_files(option, files); };
  for_each_option(app, add);
  for (const CLI::App* command : app.get_subcommands())
    for_each_option(*command, add);
  for (const NamedFile& written : files) {
    if (!written.is_written) continue;
    for (const NamedFile& other : files) {
      const bool is_baseline = written.flag == "--save" && other.flag == "--against";
      if (&other == &written || is_baseline || !is_same(written, other)) continue;
      return invalid_input(other.is_written ? fmt::format("{} {}: {} writes this, too",
                                                          written.flag, written.name, other.flag)
                                            : fmt::format("{} {}: would replace what is read as {}",
                                                          written.flag, written.name, other.flag));
    }
  }
  return {};
}

}  // namespace rtai::tools

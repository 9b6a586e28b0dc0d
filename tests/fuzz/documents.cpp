// The JSON documents beside a model, and those of --config.
//
// Input: 'c' config.json; 'm' modules.json, a zero byte, 1_Pooling/config.json; 't'
// tokenizer_config.json, a zero byte, special_tokens_map.json, a zero byte, added_tokens.json; 'f'
// a file for --config.
#include "tests/fuzz/fuzz.h"
#include "tools/command_line.h"
#include "tools/model_files.h"

#include <CLI/CLI.hpp>

namespace rtai::fuzz {
namespace {

void read_folder() {
  const auto files = tools::find_model_files(Folder::get().path(), silent_log());
  if (!files) expect(!files.error().message().empty());
}

}  // namespace
}  // namespace rtai::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rtai;
  if (size == 0) return 0;
  const fuzz::Folder& folder = fuzz::Folder::get();
  static const bool prepared = std::filesystem::create_directory(folder.path() / "1_Pooling");
  fuzz::expect(prepared);
  folder.put("model.onnx", "x");
  const std::vector<std::string_view> parts = fuzz::split(fuzz::text_of(data + 1, size - 1), 3);
  const bool is_modules = data[0] == 'm';
  const bool is_tokens = data[0] == 't';
  folder.put("config.json", data[0] == 'c' ? parts[0] : "");
  folder.put("modules.json", is_modules ? parts[0] : "");
  folder.put("1_Pooling/config.json", is_modules ? parts[1] : "");
  folder.put("vocab.txt", is_tokens ? "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n" : "");
  folder.put("tokenizer_config.json", is_tokens ? parts[0] : "");
  folder.put("special_tokens_map.json", is_tokens ? parts[1] : "");
  folder.put("added_tokens.json", is_tokens ? parts[2] : "");
  fuzz::read_folder();
  if (data[0] == 'f') {
    folder.put("flags.json", parts[0]);
    CLI::App app;
    app.add_subcommand("run")->add_option("model");
    const auto words =
        tools::expand_config(app, {"run", "--config", (folder.path() / "flags.json").string()});
    if (!words) fuzz::expect(!words.error().message().empty());
  }
  return 0;
}

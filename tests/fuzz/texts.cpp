// Data files, and what a server is sent.
//
// Input: 'j' a .jsonl file, 't' a .txt file, 'c' a .csv file, 's' a .tsv file, 'h' the head of a
// request.
#include "tests/fuzz/fuzz.h"
#include "tools/serve/http_rules.h"
#include "tools/text_data.h"

namespace rtai::fuzz {
namespace {

text::Tokenizer small_tokenizer() {
  const std::vector<std::string> pieces = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##b"};
  return text::Tokenizer::create(pieces, text::WordPieceSettings{.max_length = 16}).value();
}

void read_file(const char* name, std::string_view content) {
  const Folder& folder = Folder::get();
  folder.put(name, content);
  const auto samples = tools::read_samples(folder.path() / name);
  if (!samples) return expect(!samples.error().message().empty());
  static const text::Tokenizer tokenizer = small_tokenizer();
  for (const tools::Sample& sample : *samples)
    (void)tools::encode(sample, &tokenizer);
}

}  // namespace
}  // namespace rtai::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rtai;
  if (size < 2) return 0;
  const std::string_view input = fuzz::text_of(data + 1, size - 1);
  if (data[0] == 'j') fuzz::read_file("data.jsonl", input);
  if (data[0] == 't') fuzz::read_file("data.txt", input);
  if (data[0] == 'c') fuzz::read_file("data.csv", input);
  if (data[0] == 's') fuzz::read_file("data.tsv", input);
  if (data[0] == 'h') {
    (void)serve::is_hopeless(input);
    (void)serve::check_head(input);
  }
  return 0;
}

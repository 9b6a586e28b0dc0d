#include "tools/sample.h"

namespace rtai::tools {

Result<text::Encoding> encode(const Sample& sample, const text::Tokenizer* tokenizer) {
  if (!sample.ids.empty()) {
    text::Encoding encoding;
    encoding.ids = sample.ids;
    encoding.segments = sample.segments;
    encoding.offsets.resize(sample.ids.size());
    encoding.words.assign(sample.ids.size(), -1);
    return encoding;
  }
  if (tokenizer == nullptr) {
    return Error{
        ErrorCode::invalid_input,
        "the model has no tokenizer: give a folder with its files, or ids in a .jsonl file"};
  }
  if (!sample.words.empty()) return tokenizer->encode_words(sample.words);
  if (sample.question) return tokenizer->encode_pair(*sample.question, sample.text);
  if (sample.text_b) return tokenizer->encode_pair(sample.text, *sample.text_b);
  return tokenizer->encode(sample.text);
}

}  // namespace rtai::tools

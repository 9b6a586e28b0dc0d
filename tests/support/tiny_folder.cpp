// Writes models that every command takes and no command takes long for.
//
// usage: tiny_folder FOLDER
// FOLDER/model (a classifier as Hugging Face tools write it), FOLDER/model.rtai, FOLDER/texts.txt,
// FOLDER/labelled.jsonl; FOLDER/questions (a model that answers questions, with two outputs)
#include "libopt/ir/ops.h"
#include "runtime/base/atomic_write.h"
#include "tests/support/models.h"
#include "tools/model.h"

#include <fmt/format.h>

#include <cstdio>

namespace rtai {
namespace {

constexpr int kWords = 40;
constexpr int kTexts = 12;

tools::Model make_encoder(Index labels, bool pooled) {
  std::vector<std::string> pieces = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (int word = 0; word < kWords; ++word)
    pieces.push_back(fmt::format("word{}", word));
  tools::Model model;
  model.name = "tiny";
  model.graph = testing::make_model({.layers = 2,
                                     .hidden = 32,
                                     .heads = 2,
                                     .head_dim = 16,
                                     .ffn = 64,
                                     .vocabulary = static_cast<Index>(pieces.size()),
                                     .positions = 24,
                                     .labels = labels,
                                     .pooled = pooled});
  model.tokenizer = text::Tokenizer::create(pieces, text::WordPieceSettings{}).value();
  return model;
}

tools::Model make_classifier() {
  tools::Model model = make_encoder(3, true);
  model.labels = {"no", "yes", "perhaps"};
  model.task = tools::Task::sequence_classification;
  return model;
}

tools::Model make_question_model() {
  tools::Model model = make_encoder(2, false);
  const ir::ValueId logits = model.graph->outputs()[0];
  std::vector<ir::ValueId> outputs;
  for (const Index column : {Index{0}, Index{1}}) {
    outputs.push_back(ir::append(*model.graph, ir::Op::columns, {logits},
                                 {{"begin", column}, {"end", column + 1}})
                          .value());
    model.graph->rename(outputs.back(), column == 0 ? "start_logits" : "end_logits");
  }
  model.graph->set_outputs(outputs);
  model.task = tools::Task::question_answering;
  return model;
}

std::string text_of(int number) {
  std::string text;
  for (int word = 0; word < 3 + number % 5; ++word)
    text += fmt::format("{}word{}", word == 0 ? "" : " ", (7 * number + 3 * word) % kWords);
  return text;
}

Result<void> write(const std::filesystem::path& folder) {
  const tools::Model model = make_classifier();
  RTAI_TRY_VOID(tools::save_model(model, folder / "model"));
  RTAI_TRY_VOID(tools::save_model(model, folder / "model.rtai"));
  RTAI_TRY_VOID(tools::save_model(make_question_model(), folder / "questions"));
  std::string texts, labelled;
  for (int number = 0; number < kTexts; ++number) {
    texts += text_of(number) + "\n";
    labelled += fmt::format("{{\"text\": \"{}\", \"label\": \"{}\"}}\n", text_of(number),
                            model.labels[static_cast<std::size_t>(number) % 3]);
  }
  RTAI_TRY_VOID(write_file_atomically(folder / "texts.txt", texts));
  return write_file_atomically(folder / "labelled.jsonl", labelled);
}

}  // namespace
}  // namespace rtai

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const rtai::Result<void> written = rtai::write(argv[1]);
  if (written) return 0;
  std::fprintf(stderr, "%s\n", written.error().message().c_str());
  return 1;
}

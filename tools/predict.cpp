#include "tools/predict.h"

namespace rtai::tools {
namespace {

constexpr Index kTokensAtOnce = 2048;

}  // namespace

Result<Predictor> make_predictor(const Model& model, int threads, const std::string& target) {
  RTAI_TRY(auto engine, make_engine(model));
  return Predictor::create(std::move(engine), {.threads = threads,
                                               .target = target,
                                               .max_tokens = kTokensAtOnce,
                                               .max_sequences = kTokensAtOnce});
}

Result<std::vector<Answer>> answer_all(const Model& model,
                                       Predictor& predictor,
                                       const std::vector<Sample>& samples,
                                       Log& log) {
  std::vector<text::Encoding> encodings;
  for (const Sample& sample : samples) {
    RTAI_TRY(text::Encoding encoding, encode_for(model, sample));
    encodings.push_back(std::move(encoding));
  }
  RTAI_TRY(const auto outputs, predictor.run(encodings, log));
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    RTAI_TRY(Answer answer, make_answer(model, samples[i], encodings[i], outputs[i]));
    answer.logits = outputs[i].front();
    answers.push_back(std::move(answer));
  }
  return answers;
}

}  // namespace rtai::tools

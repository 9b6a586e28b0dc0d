#include "tools/predictor.h"

#include "runtime/text/packed_batch.h"

#include <algorithm>

namespace rtai::tools {
namespace {

SampleOutput cut_output(const TensorView<const float>& output,
                        engine::Rows rows,
                        const text::PackedBatch& batch,
                        std::size_t sequence) {
  const Index begin =
      rows == engine::Rows::tokens ? batch.offsets[sequence] : static_cast<Index>(sequence);
  const Index end = rows == engine::Rows::tokens ? batch.offsets[sequence + 1] : begin + 1;
  const Index columns = output.shape()[1];
  const std::span<const float> values = output.flat().subspan(
      static_cast<std::size_t>(begin * columns), static_cast<std::size_t>((end - begin) * columns));
  return {.values = {values.begin(), values.end()}, .rows = end - begin, .columns = columns};
}

}  // namespace

Result<Predictor> Predictor::create(std::shared_ptr<const engine::Engine> engine,
                                    const SessionOptions& options) {
  RTAI_TRY(Session session, Session::create(std::move(engine), options));
  return Predictor(std::move(session), options.max_tokens);
}

Result<std::vector<std::vector<SampleOutput>>> Predictor::run(
    std::span<const text::Encoding> encodings, Log& log) {
  const engine::Program& program = engine().program;
  std::vector<std::vector<SampleOutput>> outputs;
  for (std::size_t first = 0; first < encodings.size();) {
    text::PackedBatch batch;
    std::size_t last = first;
    while (last < encodings.size() &&
           (last == first ||
            std::ssize(batch.ids) + std::ssize(encodings[last].ids) <= tokens_at_once_)) {
      batch.add(encodings[last++]);
    }
    RTAI_TRY_VOID(
        session_.run({.ids = batch.ids, .segments = batch.segments, .offsets = batch.offsets}));
    for (std::size_t s = 0; s < last - first; ++s) {
      std::vector<SampleOutput> sample;
      for (std::size_t i = 0; i < program.outputs.size(); ++i) {
        const auto rows = program.values[static_cast<std::size_t>(program.outputs[i].value)].rows;
        sample.push_back(cut_output(session_.output(i), rows, batch, s));
      }
      outputs.push_back(std::move(sample));
    }
    first = last;
    log.progress("running", static_cast<double>(first), static_cast<double>(encodings.size()));
  }
  log.progress("running", 0, 0);
  return outputs;
}

}  // namespace rtai::tools

// The smallest use of the runtime: an engine, a text, the label of every token.
#include "runtime/exec/session.h"
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>

namespace {

rtai::Result<void> label_tokens(const char* path, const char* text) {
  RTAI_TRY(rtai::engine::Engine opened, rtai::engine::open(path));
  const auto engine = std::make_shared<const rtai::engine::Engine>(std::move(opened));
  RTAI_TRY(const rtai::text::Tokenizer tokenizer,
           rtai::text::Tokenizer::deserialize(engine->tokenizer));
  RTAI_TRY(rtai::Session session, rtai::Session::create(engine));

  const rtai::text::Encoding encoding = tokenizer.encode(text);
  const std::array offsets = {std::int32_t{0}, static_cast<std::int32_t>(encoding.ids.size())};
  RTAI_TRY_VOID(
      session.run({.ids = encoding.ids, .segments = encoding.segments, .offsets = offsets}));

  const rtai::TensorView<const float> logits = session.output(0);
  const std::span<const float> scores = logits.flat();
  const auto columns = static_cast<std::size_t>(logits.shape()[1]);
  for (std::size_t token = 0; token < encoding.ids.size(); ++token) {
    const auto row = scores.subspan(token * columns, columns);
    const auto best = static_cast<std::size_t>(std::ranges::max_element(row) - row.begin());
    std::printf("%d %s\n", encoding.ids[token], engine->labels[best].c_str());
  }
  return {};
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const rtai::Result<void> done = label_tokens(arguments[1], arguments[2]);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}

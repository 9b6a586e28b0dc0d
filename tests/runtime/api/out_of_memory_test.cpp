// Whichever allocation fails, the C interface says so, loses nothing and goes on.
#include "libopt/lower/lower.h"
#include "runtime/api/rtai.h"
#include "runtime/text/tokenizer.h"
#include "tests/support/allocations.h"
#include "tests/support/models.h"
#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>

#include <memory>
#include <vector>

namespace rtai {
namespace {

using EnginePointer = std::unique_ptr<rtai_engine, decltype(&rtai_engine_close)>;
using SessionPointer = std::unique_ptr<rtai_session, decltype(&rtai_session_close)>;

std::string make_engine(const testing::TempFolder& folder) {
  engine::Engine made =
      lower(testing::make_int8_model({.layers = 1, .hidden = 32, .heads = 2, .ffn = 64})).value();
  const std::vector<std::string> pieces = {"[PAD]",  "[UNK]", "[CLS]", "[SEP]",
                                           "[MASK]", "one",   "two",   "three"};
  const std::vector<std::byte> tokenizer =
      text::Tokenizer::create(pieces, text::WordPieceSettings{}).value().serialize();
  made.tokenizer = tokenizer;
  made.labels = {"a", "b", "c", "d", "a label that is too long to be held without memory"};
  made.metadata["task"] = "token-classification";
  const std::string path = (folder / "model.rtai").string();
  REQUIRE(engine::save(made, path));
  return path;
}

rtai_status open(const std::string& path, EnginePointer& engine, SessionPointer& session) {
  rtai_engine* opened = nullptr;
  rtai_status status = rtai_engine_open(path.c_str(), &opened);
  engine.reset(opened);
  if (status != RTAI_OK) return status;
  const rtai_session_options options = {sizeof options, 2, nullptr, 8, 2};
  rtai_session* made = nullptr;
  status = rtai_session_create(engine.get(), &options, &made);
  session.reset(made);
  return status;
}

rtai_status run(rtai_session* session, const std::vector<const char*>& texts) {
  return rtai_session_run_texts(session, texts.data(), texts.size());
}

std::vector<float> answers(const rtai_session* session, std::size_t sequences) {
  std::vector<float> values;
  for (std::size_t i = 0; i < sequences; ++i) {
    rtai_matrix matrix = {};
    REQUIRE(rtai_session_output(session, 0, i, &matrix) == RTAI_OK);
    values.insert(values.end(), matrix.values, matrix.values + matrix.rows * matrix.columns);
  }
  return values;
}

TEST_CASE("every allocation of loading an engine and of its first run may fail") {
  const testing::TempFolder folder;
  const std::string path = make_engine(folder);
  const std::vector<const char*> texts = {"one two", "three"};
  rtai_engine* none = nullptr;
  CHECK(rtai_engine_open((folder / "not there").string().c_str(), &none) == RTAI_NOT_FOUND);
  std::vector<float> expected;
  int refusals = 0;
  bool failed = true;
  for (long n = 0; failed; ++n) {  // first without a failure: some tables are made for good
    const long before = testing::live_allocations();
    rtai_status status = RTAI_OK;
    std::vector<float> found;
    {
      EnginePointer engine(nullptr, &rtai_engine_close);
      SessionPointer session(nullptr, &rtai_session_close);
      testing::fail_allocation(n);
      status = open(path, engine, session);
      if (status == RTAI_OK) status = run(session.get(), texts);
      failed = n == 0 || testing::fail_allocation_came();
      testing::fail_allocation(0);
      if (status == RTAI_OK) found = answers(session.get(), texts.size());
    }
    if (n == 0) expected = found;
    const bool same = found == expected;
    std::vector<float>().swap(found);
    const long lost = testing::live_allocations() - before;
    INFO(n);
    // Some can be done without, as when the number of cores is looked up.
    REQUIRE((status == RTAI_DEVICE || (status == RTAI_OK && same)));
    REQUIRE((lost == 0 || n == 0));
    if (status != RTAI_DEVICE) continue;
    REQUIRE(std::string(rtai_last_error()).find("memory") != std::string::npos);
    ++refusals;
  }
  CHECK(refusals > 100);
}

TEST_CASE("a session whose run misses memory answers the next one as ever") {
  const testing::TempFolder folder;
  EnginePointer engine(nullptr, &rtai_engine_close);
  SessionPointer session(nullptr, &rtai_session_close);
  REQUIRE(open(make_engine(folder), engine, session) == RTAI_OK);
  const std::vector<const char*> few = {"one two", "three"};
  REQUIRE(run(session.get(), few) == RTAI_OK);
  const std::vector<float> expected = answers(session.get(), few.size());

  // Each needs more memory than those before it, until one gets it.
  const std::vector<const char*> many(40, "one two three one two three one two three");
  bool failed = true;
  for (long n = 1; failed; ++n) {
    testing::fail_allocation(n);
    const rtai_status status = run(session.get(), many);
    failed = testing::fail_allocation_came();
    testing::fail_allocation(0);
    INFO(n);
    REQUIRE(status == (failed ? RTAI_DEVICE : RTAI_OK));
    REQUIRE(run(session.get(), few) == RTAI_OK);
    REQUIRE(answers(session.get(), few.size()) == expected);
  }
}

}  // namespace
}  // namespace rtai

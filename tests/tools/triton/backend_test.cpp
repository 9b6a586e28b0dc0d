// The library as a server loads it, asked by a server that is not one: what Triton's own server
// does with it, triton_test.py tests.
#include "runtime/engine/engine.h"
#include "tests/tools/triton/fake_server.h"
#include "tools/predictor.h"
#include "tools/serve/tensors.h"

#include <catch2/catch.hpp>
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace rtai {
namespace {

namespace fs = std::filesystem;

/// A function of the library. It stays loaded.
template <class Function>
Function* find(const char* name) {
  static void* const library = ::dlopen(RTAI_TRITON_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  INFO(::dlerror());
  REQUIRE(library != nullptr);
  void* const address = ::dlsym(library, name);
  REQUIRE(address != nullptr);
  return reinterpret_cast<Function*>(address);
}

/// The message of an error, which is released; empty: none.
std::string message_of(TRITONSERVER_Error* error) {
  if (error == nullptr) return {};
  std::string message = error->message;
  TRITONSERVER_ErrorDelete(error);
  return message;
}

/// A repository with the tiny classifier that tests/support/tiny_folder writes.
const fs::path& repository() {
  static const fs::path folder = [] {
    std::string name = (fs::temp_directory_path() / "rtai-triton-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    const fs::path made = name;
    REQUIRE(std::system((std::string(RTAI_TINY_FOLDER) + " " + name).c_str()) == 0);
    fs::create_directories(made / "tiny" / "1");
    fs::rename(made / "model.rtai", made / "tiny" / "1" / "model.rtai");
    static const struct Cleaner {
      fs::path path;
      ~Cleaner() { fs::remove_all(path); }
    } cleaner{made};
    return made;
  }();
  return folder;
}

/// A loaded model with one instance.
class Loaded {
 public:
  explicit Loaded(const std::string& config = "{}") {
    model.folder = (repository() / "tiny").string();
    model.config = config;
    REQUIRE(message_of(find<decltype(TRITONBACKEND_ModelInitialize)>(
                "TRITONBACKEND_ModelInitialize")(&model)) == "");
    instance.model = &model;
    REQUIRE(message_of(find<decltype(TRITONBACKEND_ModelInstanceInitialize)>(
                "TRITONBACKEND_ModelInstanceInitialize")(&instance)) == "");
  }
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() {
    CHECK(message_of(find<decltype(TRITONBACKEND_ModelInstanceFinalize)>(
              "TRITONBACKEND_ModelInstanceFinalize")(&instance)) == "");
    CHECK(message_of(find<decltype(TRITONBACKEND_ModelFinalize)>("TRITONBACKEND_ModelFinalize")(
              &model)) == "");
    CHECK(fake_server().errors == 0);
    CHECK(fake_server().messages == 0);
  }

  /// All as one batch. Each is answered, reported and released once.
  void execute(std::vector<TRITONBACKEND_Request*> requests) {
    fake_server().batches.clear();
    const auto count = static_cast<std::uint32_t>(requests.size());
    CHECK(message_of(find<decltype(TRITONBACKEND_ModelInstanceExecute)>(
              "TRITONBACKEND_ModelInstanceExecute")(&instance, requests.data(), count)) == "");
    for (const TRITONBACKEND_Request* request : requests) {
      CHECK(request->responses == 1);
      CHECK(request->reports == 1);
      CHECK(request->releases == 1);
    }
  }

  TRITONBACKEND_Model model;
  TRITONBACKEND_ModelInstance instance;
};

std::string packed(const std::vector<std::string>& texts) {
  return serve::binary_of({.name = "text", .type = "BYTES", .texts = texts});
}

std::string packed(const std::vector<std::int64_t>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(std::int64_t)};
}

const std::vector<std::string> kOutputs = {"logits", "label", "score"};

TRITONBACKEND_Request request_of_texts(const std::vector<std::string>& texts) {
  return {.inputs = {{"text", TRITONSERVER_TYPE_BYTES, {std::ssize(texts), 1}, {packed(texts)}}},
          .outputs = kOutputs};
}

TRITONBACKEND_Input ids_input(const char* name, const std::vector<std::int64_t>& ids) {
  return {name, TRITONSERVER_TYPE_INT64, {1, std::ssize(ids)}, {packed(ids)}};
}

/// What the engine says of texts, without the backend: the bytes of its logits.
std::string logits_of(const std::vector<std::string>& texts) {
  engine::Engine engine = engine::read(repository() / "tiny" / "1" / "model.rtai").value();
  const tools::AnswerModel model = tools::answer_model(engine, "tiny").value();
  auto predictor = tools::Predictor::create(
                       std::make_shared<const engine::Engine>(std::move(engine)), {.threads = 1})
                       .value();
  std::string bytes;
  for (const std::string& text : texts) {
    const std::array<text::Encoding, 1> encodings = {model.tokenizer->encode(text)};
    const auto outputs = predictor.run(encodings, silent_log()).value();
    const std::vector<float>& values = outputs[0][0].values;
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  return bytes;
}

}  // namespace

TEST_CASE("a server of another interface is refused") {
  const auto initialize = find<decltype(TRITONBACKEND_Initialize)>("TRITONBACKEND_Initialize");
  CHECK(message_of(initialize(nullptr)) == "");
  for (const auto& [major, minor] : {std::pair{2u, 19u}, std::pair{1u, 9u}}) {
    fake_server().api_major = major;
    fake_server().api_minor = minor;
    const std::string message = message_of(initialize(nullptr));
    CHECK(message.find("expected a server with version 1.10 or later") == 0);
  }
  fake_server() = {};
}

TEST_CASE("requests of one batch get the bits of each text alone") {
  Loaded loaded;
  CHECK(loaded.model.config.find("TYPE_STRING") != std::string::npos);
  const std::vector<std::string> texts = {"word1 word2 word3", "word4", "word5 word6 word7 word8"};
  TRITONBACKEND_Request three = request_of_texts(texts), one = request_of_texts({texts[2]});
  // Data in pieces, cut where no text ends.
  TRITONBACKEND_Request pieces = request_of_texts(texts);
  const std::string whole = pieces.inputs[0].pieces[0];
  pieces.inputs[0].pieces = {whole.substr(0, 7), "", whole.substr(7)};
  loaded.execute({&three, &one, &pieces});
  CHECK(three.error == "");
  CHECK(three.answer.at("logits").bytes == logits_of(texts));
  CHECK(three.answer.at("logits").shape == std::vector<std::int64_t>{3, 3});
  CHECK(three.answer.at("label").shape == std::vector<std::int64_t>{3, 1});
  CHECK(one.answer.at("logits").bytes == logits_of({texts[2]}));
  CHECK(pieces.answer.at("logits").bytes == three.answer.at("logits").bytes);
  CHECK(fake_server().batches == std::vector<std::uint64_t>{7});
}

TEST_CASE("more tokens than a batch may have are run one after the other") {
  Loaded loaded(R"({"parameters": {"batch_tokens": {"string_value": "4"}}})");
  const std::vector<std::string> texts = {"word1 word2 word3", "word4", "word5 word6"};
  TRITONBACKEND_Request request = request_of_texts(texts);
  loaded.execute({&request});
  CHECK(request.answer.at("logits").bytes == logits_of(texts));
}

TEST_CASE("only what was asked for is sent") {
  Loaded loaded;
  TRITONBACKEND_Request request = request_of_texts({"word1"});
  request.outputs = {"label"};
  loaded.execute({&request});
  CHECK(request.answer.size() == 1);
  CHECK(request.answer.at("label").type == TRITONSERVER_TYPE_BYTES);
}

TEST_CASE("what is wrong with one request is its own error") {
  Loaded loaded;
  const auto of_inputs = [](std::vector<TRITONBACKEND_Input> inputs) {
    return TRITONBACKEND_Request{.inputs = std::move(inputs), .outputs = kOutputs};
  };
  std::vector<std::pair<TRITONBACKEND_Request, std::string>> wrong = {
      {of_inputs({}), "expected the input 'text' or 'input_ids'"},
      {of_inputs({ids_input("input_ids", {2, 999999, 3})}),
       "text 0: expected token ids from 0 to 44"},
      {of_inputs({ids_input("input_ids", {2, std::int64_t{1} << 40})}),
       "a number that is no token"},
      {of_inputs({ids_input("input_ids", {2, 3}), ids_input("attention_mask", {1})}),
       "input 'attention_mask': expected the shape of 'input_ids'"},
      {of_inputs({{"input_ids", TRITONSERVER_TYPE_FP32, {1, 2}, {"12345678"}}}),
       "input 'input_ids': expected INT64 or INT32"},
      {of_inputs(
           {{"text", TRITONSERVER_TYPE_BYTES, {1, 1}, {std::string("\x09\0\0\0secret", 10)}}}),
       "input 'text': binary data that ends too soon"},
      {of_inputs({{"text",
                   TRITONSERVER_TYPE_BYTES,
                   {2, 1},
                   {packed(std::vector<std::string>{"secret"})}}}),
       "input 'text': 1 elements, the shape has 2"},
      {of_inputs({{"text", TRITONSERVER_TYPE_BYTES, {0, 1}, {}}}),
       "input 'text': expected positive sizes"},
      {of_inputs({{"text", TRITONSERVER_TYPE_BYTES, {1, 1}, {"secret"}, TRITONSERVER_MEMORY_GPU}}),
       "input 'text': lies on a GPU"},
  };
  TRITONBACKEND_Request good = request_of_texts({"word1 word2"});
  std::vector<TRITONBACKEND_Request*> batch = {&good};
  for (auto& [request, message] : wrong)
    batch.push_back(&request);
  loaded.execute(batch);
  for (const auto& [request, message] : wrong) {
    CHECK(request.error.find(message) != std::string::npos);
    CHECK(request.error.find("secret") == std::string::npos);
    CHECK(request.answer.empty());
  }
  CHECK(good.error == "");
  CHECK(good.answer.at("logits").bytes == logits_of({"word1 word2"}));
  CHECK(fake_server().batches == std::vector<std::uint64_t>{1});
}

TEST_CASE("a batch takes requests as long as it has tokens left, and always the first") {
  Loaded loaded(R"({"parameters": {"batch_tokens": {"string_value": "10"}}})");
  TRITONBACKEND_Batcher* batcher = nullptr;
  CHECK(message_of(find<decltype(TRITONBACKEND_ModelBatcherInitialize)>(
            "TRITONBACKEND_ModelBatcherInitialize")(&batcher, &loaded.model)) == "");
  const auto begin =
      find<decltype(TRITONBACKEND_ModelBatchInitialize)>("TRITONBACKEND_ModelBatchInitialize");
  const auto end =
      find<decltype(TRITONBACKEND_ModelBatchFinalize)>("TRITONBACKEND_ModelBatchFinalize");
  const auto include_request = find<decltype(TRITONBACKEND_ModelBatchIncludeRequest)>(
      "TRITONBACKEND_ModelBatchIncludeRequest");
  void* batch = nullptr;
  const auto includes = [&](std::size_t tokens) {
    TRITONBACKEND_Request request{
        .inputs = {ids_input("input_ids", std::vector<std::int64_t>(tokens, 5))}, .outputs = {}};
    bool include = false;
    CHECK(message_of(include_request(&request, batch, &include)) == "");
    return include;
  };
  CHECK(message_of(begin(batcher, &batch)) == "");
  CHECK(includes(6));
  CHECK_FALSE(includes(5));
  CHECK(includes(4));
  CHECK_FALSE(includes(1));
  CHECK(message_of(end(batch)) == "");
  CHECK(message_of(begin(batcher, &batch)) == "");
  CHECK(includes(20));
  CHECK_FALSE(includes(1));
  // A batch that the server ended and goes on with.
  batch = nullptr;
  CHECK(includes(20));
}

TEST_CASE("models that cannot be served are refused and leave nothing behind") {
  const auto refused = [](const std::string& config, const std::string& folder) {
    TRITONBACKEND_Model model;
    model.folder = folder;
    model.config = config;
    const std::string message = message_of(
        find<decltype(TRITONBACKEND_ModelInitialize)>("TRITONBACKEND_ModelInitialize")(&model));
    CHECK(model.state == nullptr);
    return message;
  };
  const std::string tiny = (repository() / "tiny").string();
  CHECK(refused("{}", tiny + "/absent").find("no such file") != std::string::npos);
  CHECK(refused(R"({"default_model_filename": "../../texts.txt"})", tiny)
            .find("not an rtai engine") != std::string::npos);
  CHECK(refused(R"({"parameters": {"threads": {"string_value": "x"}}})", tiny).find("'threads'") !=
        std::string::npos);
  CHECK(refused("[", tiny) == "the configuration is not JSON");
  CHECK(fake_server().errors == 0);
  CHECK(fake_server().messages == 0);
}

}  // namespace rtai

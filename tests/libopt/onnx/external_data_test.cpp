#include "libopt/onnx/import.h"
#include "tests/libopt/reference/apply.h"
#include "tests/support/onnx_text.h"
#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <thread>

namespace rtai::onnx_io {
namespace {

namespace fs = std::filesystem;

using Keys = std::map<std::string, std::string>;

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A folder "models" with a model whose weight f32[2] is external data, beside a folder "outside".
class Case {
 public:
  Case() {
    fs::create_directories(folder / "models" / "sub");
    fs::create_directories(folder / "outside");
    write(folder / "outside" / "secret", bytes_);
    write(folder / "models" / "weights", "0123" + bytes_);
    write(folder / "models" / "sub" / "weights", bytes_);
  }

  fs::path models() const { return folder / "models"; }

  /// Imports the model with these keys; the weight, if it can be read.
  Result<ir::Tensor> read(const Keys& keys,
                          const ImportOptions& options = {},
                          const fs::path& place = "model.onnx") const {
    write_model(models() / place, keys);
    RTAI_TRY(const ir::Graph graph, import_onnx(models() / place, options));
    return *graph.constant(graph.constants().at(0));
  }

  std::string refusal(const Keys& keys, const ImportOptions& options = {}) const {
    const auto result = read(keys, options);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::invalid_input);
    return result.error().message();
  }

  static void write_model(const fs::path& path, const Keys& keys) {
    onnx::ModelProto model =
        onnx_model(17, "(float[2] x) => (float[2] y) <float[2] w = {0, 0}> { y = Add(x, w) }");
    onnx::TensorProto& weight = *model.mutable_graph()->mutable_initializer(0);
    weight.clear_float_data();
    weight.clear_raw_data();
    weight.set_data_location(onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] : keys) {
      onnx::StringStringEntryProto& entry = *weight.add_external_data();
      entry.set_key(key);
      entry.set_value(value);
    }
    write(path, model.SerializeAsString());
  }

  testing::TempFolder temp;
  const fs::path folder = temp.path();
  const ir::Tensor weight = reference::f32({2}, {1.5f, -2});

 private:
  std::string bytes_{reinterpret_cast<const char*>(weight.bytes().data()), weight.bytes().size()};
};

TEST_CASE("external data beside and below the model is read") {
  const Case files;
  CHECK(*files.read({{"location", "weights"}, {"offset", "4"}, {"length", "8"}}) == files.weight);
  CHECK(*files.read({{"location", "weights"}, {"offset", "4"}}) == files.weight);
  CHECK(*files.read({{"location", "sub/weights"}, {"checksum", "ignored"}}) == files.weight);
  CHECK(*files.read({{"location", "./sub//weights"}}) == files.weight);
}

TEST_CASE("a location may look like a way out and not be one") {
  const Case files;
  fs::copy(files.models() / "sub" / "weights", files.models() / "a..b.bin");
  fs::copy(files.models() / "sub" / "weights", files.models() / "#weights");
  CHECK(*files.read({{"location", "a..b.bin"}}) == files.weight);
  CHECK(*files.read({{"location", "#weights"}}) == files.weight);
}

TEST_CASE("external data outside of the model's folder is never opened") {
  const Case files;
  const std::string absolute = (files.folder / "outside" / "secret").string();
  const std::map<std::string, std::string> refused = {
      {"../outside/secret", "leads out of the model's folder"},
      {"sub/../../outside/secret", "leads out of the model's folder"},
      {"sub/../weights", "leads out of the model's folder"},
      {"..", "leads out of the model's folder"},
      {absolute, "is an absolute path"},
      {"/proc/self/environ", "is an absolute path"},
      {"", "is empty"},
      {".", "names no file"},
      {"./", "names no file"},
      {std::string("weights\0x", 9), "holds a zero byte"},
      {"..\\outside\\secret", "is a path of another system"},
      {"C:weights", "is a path of another system"},
      {"sub", "is not a regular file"},
      {"weights/weights", "leads through a symbolic link or a file"},
      {"/", "is an absolute path"},
      {"//weights", "is an absolute path"},
      {"../", "leads out of the model's folder"},
      {"./../outside/secret", "leads out of the model's folder"},
      {"sub/..", "leads out of the model's folder"},
      {"sub/../../../etc/passwd", "leads out of the model's folder"},
      {"file:///etc/passwd", "is a path of another system"},
      {"\\\\server\\share", "is a path of another system"},
  };
  for (const auto& [location, reason] : refused) {
    INFO(location);
    CHECK(files.refusal({{"location", location}}).ends_with(reason));
  }
  CHECK(files.read({{"location", "nothing"}}).error().code() == ErrorCode::not_found);
  CHECK(files.read({{"location", "nothing/weights"}}).error().code() == ErrorCode::not_found);
  CHECK(files.read({{"location", "*/_ORT_MEM_ADDR_/*"}}).error().code() == ErrorCode::not_found);
  CHECK(files.read({{"location", "~/secret"}}).error().code() == ErrorCode::not_found);
}

TEST_CASE("symbolic links are not followed out of the folder, at any depth") {
  const Case files;
  fs::create_symlink(files.folder / "outside" / "secret", files.models() / "link");
  fs::create_directory_symlink(files.folder / "outside", files.models() / "folder");
  fs::create_directory_symlink(files.folder / "outside", files.models() / "sub" / "folder");
  fs::create_symlink("../weights", files.models() / "sub" / "inner");
  fs::create_symlink("loop", files.models() / "loop");
  CHECK(files.refusal({{"location", "link"}}).ends_with("leads away from the model"));
  CHECK(files.refusal({{"location", "folder/secret"}})
            .ends_with("leads through a symbolic link or a file"));
  CHECK(files.refusal({{"location", "sub/folder/secret"}})
            .ends_with("leads through a symbolic link or a file"));
  CHECK(files.refusal({{"location", "sub/inner"}}).ends_with("is a symbolic link"));
  CHECK_FALSE(files.read({{"location", "loop"}}));
}

TEST_CASE("devices, sockets of /proc and links to them are not read") {
  const Case files;
  fs::create_symlink("/proc/self/environ", files.models() / "environment");
  fs::create_symlink("/dev/zero", files.models() / "zeros");
  fs::create_symlink("/dev/stdin", files.models() / "input");
  fs::create_directory_symlink("/proc/self", files.models() / "self");
  fs::create_directory_symlink("sub", files.models() / "again");
  for (const char* location :
       {"environment", "zeros", "input", "self/environ", "self/fd/0", "again/weights"}) {
    INFO(location);
    CHECK_FALSE(files.read({{"location", location}}));
  }
}

TEST_CASE("a folder that is exchanged for a link while it is opened gives nothing away") {
  const Case files;
  const std::string secret = "a secret";  // as long as the weight
  write(files.folder / "outside" / "weights", secret);
  Case::write_model(files.models() / "model.onnx", {{"location", "sub/weights"}});
  std::atomic<bool> done = false;
  std::thread exchanger([&] {
    const fs::path sub = files.models() / "sub", aside = files.models() / "aside";
    fs::create_directory_symlink(files.folder / "outside", aside);
    while (!done)
      ::renameat2(AT_FDCWD, sub.c_str(), AT_FDCWD, aside.c_str(), RENAME_EXCHANGE);
  });
  int read = 0, refused = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
  while (std::chrono::steady_clock::now() < end) {
    const auto graph = import_onnx(files.models() / "model.onnx");
    graph ? ++read : ++refused;
    if (graph) REQUIRE(*graph->constant(graph->constants().at(0)) == files.weight);
  }
  done = true;
  exchanger.join();
  CHECK(read + refused > 0);
}

TEST_CASE("the layout of the Hugging Face cache is followed") {
  const Case files;
  const fs::path blobs = files.folder / "blobs";
  const fs::path snapshot = files.models() / "snapshot";
  fs::create_directories(blobs);
  fs::create_directories(snapshot);
  fs::copy(files.models() / "sub" / "weights", blobs / "abc");
  Case::write_model(blobs / "def", {{"location", "model.onnx_data"}});
  fs::create_symlink("../../blobs/abc", snapshot / "model.onnx_data");
  fs::create_symlink("../../blobs/def", snapshot / "model.onnx");
  const auto graph = import_onnx(snapshot / "model.onnx");
  REQUIRE(graph);
  CHECK(*graph->constant(graph->constants().at(0)) == files.weight);

  // A model of its own with a link to the blobs is another matter.
  fs::remove(snapshot / "model.onnx");
  Case::write_model(snapshot / "model.onnx", {{"location", "model.onnx_data"}});
  CHECK_FALSE(import_onnx(snapshot / "model.onnx"));
}

TEST_CASE("a hard link is another name of a file and must be allowed") {
  const Case files;
  fs::create_hard_link(files.folder / "outside" / "secret", files.models() / "hard");
  CHECK(files.refusal({{"location", "hard"}}).find("is a hard link") != std::string::npos);
  CHECK(*files.read({{"location", "hard"}}, {.limits = {}, .allow_hardlinks = true}) ==
        files.weight);
}

TEST_CASE("a FIFO instead of data is refused without waiting") {
  const Case files;
  REQUIRE(::mkfifo((files.models() / "fifo").c_str(), 0600) == 0);
  CHECK(files.refusal({{"location", "fifo"}}).ends_with("is not a regular file"));
  CHECK_FALSE(import_onnx(files.models() / "fifo"));
}

TEST_CASE("offsets and lengths must lie in the file and fit the tensor") {
  const Case files;
  const auto refusal = [&](const std::string& offset, const std::string& length) {
    return files.refusal({{"location", "weights"}, {"offset", offset}, {"length", length}});
  };
  CHECK(refusal("4", "9").find("length is 9 bytes, f32[2] needs 8") != std::string::npos);
  CHECK(refusal("4", "0").find("length is 0 bytes") != std::string::npos);
  CHECK(refusal("5", "8").find("8 bytes from 5 on are wanted, the file has 12") !=
        std::string::npos);
  CHECK(refusal("9223372036854775807", "8").find("the file has 12") != std::string::npos);
  for (const char* bad :
       {"-1", "+1", " 1", "1 ", "0x1", "", "1e3", "9223372036854775808", "99999999999999999999"}) {
    INFO(bad);
    CHECK(refusal(bad, "8").find("expected a number of bytes") != std::string::npos);
    CHECK(refusal("4", bad).find("expected a number of bytes") != std::string::npos);
  }
}

TEST_CASE("unknown, repeated and missing keys are refused") {
  const Case files;
  CHECK(files.refusal({}).ends_with("external data without a location"));
  CHECK(files.refusal({{"location", "weights"}, {"__class__", "x"}}).find("key '__class__'") !=
        std::string::npos);
  onnx::ModelProto model =
      onnx_model(17, "(float[1] x) => (float y) <float[1] w = {0}> { y = Add(x, w) }");
  onnx::TensorProto& weight = *model.mutable_graph()->mutable_initializer(0);
  weight.clear_float_data();
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  for (int i = 0; i < 2; ++i) {
    weight.add_external_data()->set_key("location");
    weight.mutable_external_data(i)->set_value("weights");
  }
  write(files.models() / "model.onnx", model.SerializeAsString());
  CHECK(import_onnx(files.models() / "model.onnx").error().message().find("stands twice") !=
        std::string::npos);
}

TEST_CASE("all external data together is limited before memory is taken") {
  const Case files;
  ImportOptions options;
  options.limits.weight_bytes = 8;
  CHECK(files.read({{"location", "sub/weights"}}, options));
  options.limits.weight_bytes = 7;
  const auto refused = files.read({{"location", "sub/weights"}}, options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::unsupported);
}

TEST_CASE("external data of 4 bits is counted in bytes of the file and of memory") {
  const Case files;
  onnx::ModelProto model =
      onnx_model(17, "(float[1] x) => (float y) { z = Cast <to = 1> (w)  y = Add(x, z) }");
  onnx::TensorProto& weight = *model.mutable_graph()->add_initializer();
  weight.set_name("w");
  weight.set_data_type(22);  // INT4
  weight.add_dims(15);
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  const auto import_with = [&](const std::string& length, Index most_bytes) {
    weight.clear_external_data();
    weight.add_external_data()->set_key("location");
    weight.mutable_external_data(0)->set_value("weights");
    weight.add_external_data()->set_key("length");
    weight.mutable_external_data(1)->set_value(length);
    write(files.models() / "model.onnx", model.SerializeAsString());
    ImportOptions options;
    options.limits.weight_bytes = most_bytes;
    return import_onnx(files.models() / "model.onnx", options);
  };
  const auto graph = import_with("8", 15);
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  CHECK(graph->constant(*graph->find_value("w"))->dtype() == DType::i4);
  CHECK(import_with("15", 15).error().message().find("length is 15 bytes, i4[15] needs 8") !=
        std::string::npos);
  CHECK(import_with("8", 14).error().code() == ErrorCode::unsupported);
  weight.set_dims(0, 1000);
  CHECK(import_with("500", 1000).error().message().find("500 bytes from 0 on are wanted") !=
        std::string::npos);
}

}  // namespace
}  // namespace rtai::onnx_io

// rtai._rtai: engines and their answers as NumPy arrays. rtai/__init__.py gives it its names.
#include "runtime/base/aligned_buffer.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/format.h"
#include "runtime/exec/session.h"
#include "runtime/text/decode.h"
#include "runtime/text/packed_batch.h"
#include "runtime/text/tokenizer.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace rtai::python {
namespace {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The exception that Python programs expect for `error`.
[[noreturn]] void raise(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_input:
      throw py::value_error(error.message());
    case ErrorCode::not_found:
      PyErr_SetString(PyExc_FileNotFoundError, error.message().c_str());
      throw py::error_already_set();
    default:
      throw Failure(error.message());
  }
}

template <class T>
T unwrap(Result<T> result) {
  if (!result) raise(result.error());
  return *std::move(result);
}

using Ids = std::vector<std::int32_t>;

/// One output of all sequences, row by row, and where the rows of each begin if each token has one.
struct Rows {
  std::string name;
  Index columns = 0;
  bool per_token = false;
  std::vector<float> values;
  std::vector<Index> offsets = {0};
};

/// Bytes in memory that stay where they are and keep their values.
struct Bytes {
  std::span<const std::byte> bytes;  // 64-byte aligned
  std::shared_ptr<const void> storage;
};

/// Without a copy where the memory is aligned and read-only, as arrays in shared memory are.
Bytes bytes_of(const py::buffer& data) {
  auto info = std::make_unique<py::buffer_info>(data.request());
  if (info->itemsize != 1 || info->ndim != 1 || info->strides[0] != 1)
    throw py::value_error("engine: expected bytes, one after the other");
  const std::span given(static_cast<const std::byte*>(info->ptr),
                        static_cast<std::size_t>(info->size));
  if (info->readonly && reinterpret_cast<std::uintptr_t>(info->ptr) % engine::kEngineAlignment == 0)
    return {given, std::shared_ptr<const void>(info.release(), [](const void* held) {
              const py::gil_scoped_acquire python;
              delete static_cast<const py::buffer_info*>(held);
            })};
  auto copy = std::make_shared<AlignedBuffer>(unwrap(AlignedBuffer::make(given.size())));
  std::copy(given.begin(), given.end(), copy->data());
  return {copy->span(), copy};
}

engine::Engine parse(const py::buffer& data) {
  const Bytes memory = bytes_of(data);
  return unwrap(engine::parse(memory.bytes, memory.storage));
}

/// A session, used by one thread at a time: others wait, without Python's lock.
class Engine {
 public:
  Engine(engine::Engine engine, int threads, const std::string& target)
      : engine_(std::make_shared<const engine::Engine>(std::move(engine))),
        session_(unwrap(Session::create(engine_, {.threads = threads, .target = target}))) {
    if (engine_->tokenizer.empty()) return;
    tokenizer_.emplace(unwrap(text::Tokenizer::deserialize(engine_->tokenizer)));
  }

  const engine::Engine& engine() const { return *engine_; }
  std::string target() const { return std::string(session_.target()); }
  int threads() const { return session_.threads(); }

  std::vector<Ids> tokenize(const std::vector<std::string>& texts) const {
    std::vector<Ids> ids;
    for (const std::string& text : texts)
      ids.push_back(tokenizer().encode(text).ids);
    return ids;
  }

  std::vector<Rows> run_texts(const std::vector<std::string>& texts,
                              const std::optional<std::vector<std::string>>& pairs,
                              std::size_t batch) {
    if (pairs && pairs->size() != texts.size())
      throw py::value_error("pairs: expected as many as texts");
    return run(texts.size(), batch, [&](std::size_t i, text::PackedBatch& sequences) {
      sequences.add(pairs ? tokenizer().encode_pair(texts[i], (*pairs)[i])
                          : tokenizer().encode(texts[i]));
    });
  }

  std::vector<Rows> run_ids(const std::vector<Ids>& ids,
                            const std::optional<std::vector<Ids>>& segments,
                            std::size_t batch) {
    if (segments && segments->size() != ids.size())
      throw py::value_error("segments: expected as many sequences as ids");
    return run(ids.size(), batch, [&](std::size_t i, text::PackedBatch& sequences) {
      const Ids types = segments ? (*segments)[i] : Ids(ids[i].size());
      if (types.size() != ids[i].size())
        throw py::value_error("segments: expected one for each id of sequence " +
                              std::to_string(i));
      sequences.add(ids[i], types);
    });
  }

 private:
  const text::Tokenizer& tokenizer() const {
    if (!tokenizer_) throw Failure("this engine has no tokenizer; run it on token ids");
    return *tokenizer_;
  }

  std::vector<Rows> nothing_yet() const {
    std::vector<Rows> outputs;
    for (const engine::Output& output : engine_->program.outputs) {
      const engine::ValueInfo& value =
          engine_->program.values[static_cast<std::size_t>(output.value)];
      outputs.push_back({.name = output.name,
                         .columns = value.columns,
                         .per_token = value.rows == engine::Rows::tokens,
                         .values = {}});
    }
    return outputs;
  }

  /// `batch` sequences at a time; `add` appends sequence i.
  template <class Add>
  std::vector<Rows> run(std::size_t count, std::size_t batch, const Add& add) {
    if (batch == 0) throw py::value_error("batch_size: expected at least 1");
    const py::gil_scoped_release without_python;
    const std::lock_guard alone(mutex_);
    std::vector<Rows> outputs = nothing_yet();
    for (std::size_t first = 0; first < count; first += batch) {
      text::PackedBatch sequences;
      for (std::size_t i = first; i < std::min(count, first + batch); ++i)
        add(i, sequences);
      const Result<void> done = session_.run(
          {.ids = sequences.ids, .segments = sequences.segments, .offsets = sequences.offsets});
      if (!done) raise(done.error());
      for (std::size_t i = 0; i < outputs.size(); ++i)
        append(session_.output(i).flat(), sequences.offsets, outputs[i]);
    }
    return outputs;
  }

  static void append(std::span<const float> values, const Ids& offsets, Rows& rows) {
    rows.values.insert(rows.values.end(), values.begin(), values.end());
    const Index before = rows.offsets.back();
    for (std::size_t i = 1; i < offsets.size(); ++i)
      rows.offsets.push_back(before + offsets[i]);
  }

  std::shared_ptr<const engine::Engine> engine_;
  Session session_;
  std::optional<text::Tokenizer> tokenizer_;
  std::mutex mutex_;
};

/// [sequences, columns], or a list of [tokens, columns]: parts of one array, which owns the values.
py::object to_python(Rows rows) {
  auto* values = new std::vector<float>(std::move(rows.values));
  const py::capsule owner(values, [](void* p) { delete static_cast<std::vector<float>*>(p); });
  const auto count = static_cast<py::ssize_t>(values->size()) / std::max<Index>(rows.columns, 1);
  const py::array_t<float> all({count, static_cast<py::ssize_t>(rows.columns)}, values->data(),
                               owner);
  if (!rows.per_token) return all;
  py::list parts;
  for (std::size_t i = 1; i < rows.offsets.size(); ++i)
    parts.append(all[py::slice(rows.offsets[i - 1], rows.offsets[i], 1)]);
  return parts;
}

py::dict to_python(std::vector<Rows> outputs) {
  py::dict named;
  for (Rows& rows : outputs) {
    const py::str name(rows.name);
    named[name] = to_python(std::move(rows));
  }
  return named;
}

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

/// Shapes: logits [sequences, classes] -> the class of each sequence, the scores of all classes.
std::pair<py::array_t<std::int32_t>, Floats> classify(const Floats& logits, bool multi_label) {
  if (logits.ndim() != 2) throw py::value_error("logits: expected [sequences, classes]");
  const auto columns = static_cast<std::size_t>(logits.shape(1));
  const text::Problem problem =
      multi_label ? text::Problem::multi_label_classification : text::problem_of(columns);
  // Not classes(count): before pybind11 2.12 that asks NumPy 2 for the size of an element, and gets
  // 0.
  py::array_t<std::int32_t> classes(std::vector<py::ssize_t>{logits.shape(0)});
  Floats scores({logits.shape(0), logits.shape(1)});
  for (py::ssize_t i = 0; i < logits.shape(0); ++i) {
    const text::Classification answer =
        unwrap(text::classify({logits.data(i, 0), columns}, problem));
    classes.mutable_at(i) = static_cast<std::int32_t>(answer.label);
    std::copy(answer.scores.begin(), answer.scores.end(), scores.mutable_data(i, 0));
  }
  return {std::move(classes), std::move(scores)};
}

}  // namespace
}  // namespace rtai::python

PYBIND11_MODULE(_rtai, module) {
  using rtai::python::Engine;
  py::register_exception<rtai::python::Failure>(module, "Error", PyExc_RuntimeError);
  module.attr("__version__") = RTAI_VERSION;
  module.def("classify", &rtai::python::classify);
  py::class_<Engine>(module, "Engine")
      .def(py::init([](const std::filesystem::path& path, int threads, const std::string& target) {
        return std::make_unique<Engine>(rtai::python::unwrap(rtai::engine::read(path)), threads,
                                        target);
      }))
      .def_static("parse",
                  [](const py::buffer& data, int threads, const std::string& target) {
                    return std::make_unique<Engine>(rtai::python::parse(data), threads, target);
                  })
      .def("run",
           [](Engine& self, const std::vector<std::string>& texts,
              const std::optional<std::vector<std::string>>& pairs, std::size_t batch) {
             return rtai::python::to_python(self.run_texts(texts, pairs, batch));
           })
      .def("run_ids",
           [](Engine& self, const std::vector<rtai::python::Ids>& ids,
              const std::optional<std::vector<rtai::python::Ids>>& segments, std::size_t batch) {
             return rtai::python::to_python(self.run_ids(ids, segments, batch));
           })
      .def("tokenize", &Engine::tokenize, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("labels", [](const Engine& self) { return self.engine().labels; })
      .def_property_readonly("facts", [](const Engine& self) { return self.engine().metadata; })
      .def_property_readonly("target", &Engine::target)
      .def_property_readonly("threads", &Engine::threads);
}

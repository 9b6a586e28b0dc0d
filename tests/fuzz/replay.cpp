// Runs a fuzz target without libFuzzer: on files, and on changes of them that follow from a seed.
//
// usage: replay_TARGET CHANGES FILE_OR_FOLDER...
#include "tests/fuzz/fuzz.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

using namespace rtai;
namespace fs = std::filesystem;

extern "C" [[gnu::weak]] std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data,
                                                             std::size_t size,
                                                             std::size_t most,
                                                             unsigned int seed);

namespace {

fuzz::Dice dice(1);

std::vector<fs::path> files_of(const fs::path& path) {
  if (fs::is_regular_file(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::uint8_t> read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run(const std::vector<std::uint8_t>& input) {
  // Exactly as large as the input, so that a sanitizer sees a read behind its end.
  const auto copy = std::make_unique<std::uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), copy.get());
  LLVMFuzzerTestOneInput(copy.get(), input.size());
}

}  // namespace

std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most) {
  if (size == 0) {
    if (most == 0) return 0;
    data[0] = static_cast<std::uint8_t>(dice.next() >> 40);
    return 1;
  }
  const std::size_t at = dice.below(size);
  switch (dice.below(4)) {
    case 0:
      data[at] ^= static_cast<std::uint8_t>(1u << dice.below(8));
      return size;
    case 1:
      data[at] = static_cast<std::uint8_t>(dice.next() >> 40);
      return size;
    case 2:  // without some bytes
      std::memmove(data + at, data + at + 1, size - at - 1);
      return size - 1;
    default:  // with some twice
      if (size == most) return size;
      std::memmove(data + at + 1, data + at, size - at);
      return size + 1;
  }
}

int main(int count, char** words) {
  if (count < 3) {
    std::fprintf(stderr, "usage: %s CHANGES FILE_OR_FOLDER...\n", words[0]);
    return 2;
  }
  const long changes = std::atol(words[1]);
  std::size_t runs = 0;
  for (int i = 2; i < count; ++i) {
    for (const fs::path& path : files_of(words[i])) {
      const std::vector<std::uint8_t> original = read(path);
      run(original);
      ++runs;
      for (long change = 0; change < changes; ++change, ++runs) {
        std::vector<std::uint8_t> input = original;
        const std::size_t most = input.size() + 256;
        input.resize(most);
        const auto seed = static_cast<unsigned int>(dice.next() >> 32);
        input.resize(LLVMFuzzerCustomMutator != nullptr
                         ? LLVMFuzzerCustomMutator(input.data(), original.size(), most, seed)
                         : LLVMFuzzerMutate(input.data(), original.size(), most));
        run(input);
      }
    }
  }
  std::printf("%zu runs\n", runs);
  return runs == 0 ? 1 : 0;
}

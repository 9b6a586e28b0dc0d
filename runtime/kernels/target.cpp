#include "runtime/kernels/target.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace rtai {
namespace {

struct Cpuid {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
};

Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Cpuid r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(std::uint32_t word, int i) {
  return (word >> i & 1u) != 0;
}

/// Register states that the operating system saves: XCR0 (Intel SDM volume 1, section 13.3).
std::uint64_t saved_states() {
  if (!bit(cpuid(1, 0).ecx, 27)) return 0;  // OSXSAVE
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

constexpr std::uint64_t kAvxState = 0x6;
constexpr std::uint64_t kAvx512State = 0xe6;
constexpr std::uint64_t kAmxState = 0x60000;

/// Linux hands out the 8 KiB of tile registers only to processes that ask.
bool request_amx() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Each test names the first thing that is missing; an empty string means available.

std::string has_ref() {
  return {};
}

std::string has_avx2() {
  if ((saved_states() & kAvxState) != kAvxState) return "the system does not save AVX registers";
  if (!bit(cpuid(7, 0).ebx, 5)) return "avx2 missing";
  if (!bit(cpuid(1, 0).ecx, 12)) return "fma missing";
  if (!bit(cpuid(1, 0).ecx, 29)) return "f16c missing";
  return {};
}

std::string has_avxvnni() {
  if (std::string missing = has_avx2(); !missing.empty()) return missing;
  if (!bit(cpuid(7, 1).eax, 4)) return "avx_vnni missing";
  return {};
}

std::string has_avx512_vnni() {
  if (std::string missing = has_avx2(); !missing.empty()) return missing;
  if ((saved_states() & kAvx512State) != kAvx512State) {
    return "the system does not save AVX-512 registers";
  }
  const Cpuid leaf = cpuid(7, 0);
  if (!bit(leaf.ebx, 16)) return "avx512f missing";
  if (!bit(leaf.ebx, 17)) return "avx512dq missing";
  if (!bit(leaf.ebx, 30)) return "avx512bw missing";
  if (!bit(leaf.ebx, 31)) return "avx512vl missing";
  if (!bit(leaf.ecx, 11)) return "avx512_vnni missing";
  return {};
}

std::string has_amx() {
  if (std::string missing = has_avx512_vnni(); !missing.empty()) return missing;
  const Cpuid leaf = cpuid(7, 0);
  if (!bit(leaf.edx, 24)) return "amx_tile missing";
  if (!bit(leaf.edx, 25)) return "amx_int8 missing";
  if (!bit(leaf.edx, 22)) return "amx_bf16 missing";
  if (!bit(cpuid(7, 1).eax, 5)) return "avx512_bf16 missing";
  if ((saved_states() & kAmxState) != kAmxState) return "the system does not save tile registers";
  static const bool granted = request_amx();
  return granted ? "" : "the system refused tile registers";
}

struct TargetInfo {
  Target target;
  std::string_view name;
  std::string (*missing)();
};

constexpr auto kTargets = std::to_array<TargetInfo>({
#define RTAI_TARGET(name, flags, test) {Target::name, #name, &test},
#include "runtime/kernels/targets.inc"
#undef RTAI_TARGET
});

constexpr std::array<Target, kTargets.size()> kAll = [] {
  std::array<Target, kTargets.size()> all{};
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = kTargets[i].target;
  return all;
}();

const TargetInfo& info(Target target) {
  return kTargets[static_cast<std::size_t>(target)];
}

}  // namespace

std::string_view target_name(Target target) {
  return info(target).name;
}

std::span<const Target> all_targets() {
  return kAll;
}

bool is_available(Target target) {
  return info(target).missing().empty();
}

std::string availability_reason(Target target) {
  std::string missing = info(target).missing();
  return missing.empty() ? "ok" : missing;
}

Result<Target> select_target(std::string_view forced) {
  if (forced.empty()) {
    for (const Target target : kAll) {
      if (is_available(target)) return target;
    }
  }
  std::string names;
  for (const TargetInfo& known : kTargets) {
    if (known.name == forced) {
      if (is_available(known.target)) return known.target;
      return Error{ErrorCode::unsupported,
                   "target '" + std::string(forced) + "' cannot run here: " + known.missing()};
    }
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  return Error{ErrorCode::unsupported,
               "unknown target '" + std::string(forced) + "'; known: " + names};
}

std::string cpu_name() {
  std::array<char, 49> name{};
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Cpuid part = cpuid(0x80000002u + i, 0);
    std::memcpy(name.data() + 16 * i, &part, 16);
  }
  std::string text(name.data());
  while (!text.empty() && text.back() == ' ')
    text.pop_back();
  return text.empty() ? "unknown" : text;
}

}  // namespace rtai

#include "libopt/raise/internal/mask.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

namespace rtai::raise {
namespace {

/// Lower than any score of a real model can make up for; masks are -1e4 (before scaling) and below.
constexpr double kHidden = -1000;
constexpr double kSameFactor = 1e-5;  // relative
constexpr double kSameShift = 1e-5;

/// One row of the scores of one probe.
struct Query {
  std::size_t probe;
  Index batch;
  Index head;
  Index token;
};

struct Misfit {
  std::string text;
};

class Judge {
 public:
  Judge(const Scores& scores, std::span<const Probe> probes, bool causal)
      : scores_(scores), probes_(probes), causal_(causal) {}

  /// Nothing if every row is as it should be.
  std::optional<Misfit> misfit() {
    const Index heads = std::ssize(scores_.query.heads);
    for (std::size_t p = 0; p < probes_.size(); ++p) {
      for (Index b = 0; b < probes_[p].batch; ++b) {
        for (Index h = 0; h < heads; ++h) {
          for (Index t = 0; t < probes_[p].lengths[static_cast<std::size_t>(b)]; ++t) {
            if (auto found = misfit_of({p, b, h, t})) return found;
          }
        }
      }
    }
    return std::nullopt;
  }

  double scale() const { return scale_.value_or(1); }

 private:
  std::optional<Misfit> misfit_of(const Query& query) {
    const Probe& probe = probes_[query.probe];
    const Index real = probe.lengths[static_cast<std::size_t>(query.batch)];
    const Index seen = causal_ ? query.token + 1 : real;
    const Index heads = std::ssize(scores_.query.heads);
    const auto begin = static_cast<std::size_t>(
        ((query.batch * heads + query.head) * probe.length + query.token) * probe.length);
    const double* factor = scores_.factor[query.probe].data() + begin;
    const double* shift = scores_.shift[query.probe].data() + begin;
    const auto say = [&](Index key, std::string_view what, double value) {
      return Misfit{fmt::format("{} of token {} of {} for token {} is {}, {}",
                                key < real ? "real key" : "padded key", key, real, query.token,
                                value, what)};
    };
    if (!scale_) scale_ = factor[0];
    for (Index k = 0; k < probe.length; ++k) {
      if (k >= seen) {
        if (!(shift[k] <= shift[0] + kHidden)) return say(k, "expected to be hidden", shift[k]);
        continue;
      }
      if (!(std::fabs(shift[k] - shift[0]) <= kSameShift)) {
        return say(k, fmt::format("expected {} as for the others", shift[0]), shift[k]);
      }
      if (!(std::fabs(factor[k] - *scale_) <= kSameFactor * std::fabs(*scale_))) {
        return say(k, fmt::format("expected to be multiplied by {}", *scale_), factor[k]);
      }
    }
    return std::nullopt;
  }

  const Scores& scores_;
  std::span<const Probe> probes_;
  bool causal_;
  std::optional<double> scale_;
};

}  // namespace

Result<MaskMeaning> mask_meaning(const Scores& scores, std::span<const Probe> probes) {
  Judge plain(scores, probes, false);
  const std::optional<Misfit> misfit = plain.misfit();
  if (!misfit) return MaskMeaning{.scale = plain.scale(), .causal = false};
  Judge causal(scores, probes, true);
  if (!causal.misfit()) return MaskMeaning{.scale = causal.scale(), .causal = true};
  return Error{ErrorCode::unsupported,
               "the mask is neither key padding nor causal: " + misfit->text};
}

}  // namespace rtai::raise

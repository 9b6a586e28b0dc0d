#include "libopt/raise/internal/mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace rtai::raise {
namespace {

/// Lower than any score of a real model can make up for; masks are -1e4 (before scaling) and below.
constexpr double kHidden = -1000;
constexpr double kSameFactor = 1e-5;  // relative
constexpr double kSameShift = 1e-5;
constexpr Index kMostScores = Index{1} << 26;  // of one probe

/// What becomes of a score: factor * score + shift.
struct Effect {
  double factor = 1;
  double shift = 0;
};

void apply(const ScoreChange& change, double known, Effect& effect) {
  using Kind = ScoreChange::Kind;
  switch (change.kind) {
    case Kind::add:
      effect.shift += known;
      return;
    case Kind::subtract:
      effect.shift -= known;
      return;
    case Kind::multiply:
      effect = {effect.factor * known, effect.shift * known};
      return;
    case Kind::divide:
      effect = {effect.factor / known, effect.shift / known};
      return;
    case Kind::fill_where_true:
    case Kind::fill_where_false:
      if ((known != 0) == (change.kind == Kind::fill_where_true)) effect = {0, change.fill};
  }
}

/// The axes without heads, or nothing if the change is not the same for all of them.
std::optional<Axes> without_heads(const ScoreChange& change, const ir::Dims& dims) {
  Axes axes = change.axes;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (!has({axes[i]}, Unit::feature)) continue;
    const std::size_t added = axes.size() - dims.size();
    if (i >= added && dims[i - added] != 1) return std::nullopt;
    std::erase_if(axes[i], [](const Atom& atom) { return atom.unit == Unit::feature; });
  }
  return axes;
}

/// The effects on the scores of one probe: [batch, heads, tokens, keys], one head for all of them
/// where they do not differ, as nearly always.
class Effects {
 public:
  static Result<Effects> make(const Scores& scores, const Probe& probe) {
    Effects effects(probe, std::ssize(scores.query.heads));
    std::vector<Axes> axes;
    for (const ScoreChange& change : scores.changes) {
      if (auto narrow = without_heads(change, probe.dims(change.known)))
        axes.push_back(*std::move(narrow));
    }
    if (axes.size() == scores.changes.size()) {
      effects.heads_ = 1;
    } else {
      axes.clear();
      for (const ScoreChange& change : scores.changes)
        axes.push_back(change.axes);
    }
    if (probe.length > kMostScores / probe.length ||
        probe.batch * effects.heads_ > kMostScores / (probe.length * probe.length)) {
      return Error{ErrorCode::unsupported,
                   fmt::format("attention scores of {} x {} tokens", probe.batch, probe.length)};
    }
    effects.fill(scores, axes);
    return effects;
  }

  Index heads() const { return heads_; }
  /// The effects on all keys of one query.
  const Effect* row(Index batch, Index head, Index token) const {
    return values_.data() + ((batch * heads_ + head) * probe_->length + token) * probe_->length;
  }

 private:
  Effects(const Probe& probe, Index heads) : probe_(&probe), heads_(heads) {}

  void fill(const Scores& scores, const std::vector<Axes>& axes) {
    const Index count = probe_->batch * heads_ * probe_->length * probe_->length;
    values_.assign(static_cast<std::size_t>(count), Effect{.factor = scores.scale, .shift = 0});
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const ir::Tensor& known = *probe_->contents(scores.changes[i].known);
      for_each_place(axes[i], *probe_, known.dims(), [&](const Place& at, Index element) {
        const Index row = (at.batch * heads_ + at.feature) * probe_->length + at.token;
        apply(scores.changes[i], known.value(element),
              values_[static_cast<std::size_t>(row * probe_->length + at.key)]);
      });
    }
  }

  const Probe* probe_;
  Index heads_;
  std::vector<Effect> values_;
};

/// Judges one hypothesis: with or without later keys hidden.
class Judge {
 public:
  explicit Judge(bool causal) : causal_(causal) {}

  bool fits() const { return misfit_.empty(); }
  const std::string& misfit() const { return misfit_; }
  double scale() const { return scale_.value_or(1); }

  void look_at(const Effects& effects, const Probe& probe) {
    for (Index b = 0; b < probe.batch; ++b) {
      const Index real = probe.lengths[static_cast<std::size_t>(b)];
      for (Index h = 0; h < effects.heads(); ++h) {
        for (Index t = 0; t < real && fits(); ++t)
          look_at(effects.row(b, h, t), probe.length, real, t);
      }
    }
  }

 private:
  void look_at(const Effect* keys, Index length, Index real, Index token) {
    const Index seen = causal_ ? token + 1 : real;
    if (!scale_) scale_ = keys[0].factor;
    for (Index k = 0; k < length && fits(); ++k) {
      const Effect& effect = keys[k];
      if (k >= seen) {
        if (!(effect.shift <= keys[0].shift + kHidden))
          say(k, real, token, "changed by", effect.shift, "expected to be hidden");
      } else if (!(std::fabs(effect.shift - keys[0].shift) <= kSameShift)) {
        say(k, real, token, "changed by", effect.shift, fmt::format("others by {}", keys[0].shift));
      } else if (!(std::fabs(effect.factor - *scale_) <= kSameFactor * std::fabs(*scale_))) {
        say(k, real, token, "multiplied by", effect.factor, fmt::format("others by {}", *scale_));
      }
    }
  }

  void say(Index key,
           Index real,
           Index token,
           std::string_view what,
           double value,
           std::string_view expected) {
    misfit_ = fmt::format("for token {} of {}, {} {} is {} {:.6g}, {}", token, real,
                          key < real ? "real token" : "padded token", key, what, value, expected);
  }

  bool causal_;
  std::optional<double> scale_;
  std::string misfit_;
};

/// Collects the shifts of keys by head and distance; each must be the same wherever it is found.
class RelativeJudge {
 public:
  RelativeJudge(Index heads, Index longest)
      : heads_(heads),
        longest_(longest),
        shifts_(static_cast<std::size_t>(heads * (2 * longest - 1))) {}

  bool fits() const { return fits_; }
  double scale() const { return scale_.value_or(1); }

  void look_at(const Effects& effects, const Probe& probe) {
    for (Index b = 0; b < probe.batch; ++b) {
      const Index real = probe.lengths[static_cast<std::size_t>(b)];
      for (Index h = 0; h < heads_; ++h) {
        for (Index t = 0; t < real; ++t)
          look_at(effects.row(b, effects.heads() == 1 ? 0 : h, t), probe.length, real, h, t);
      }
    }
  }

  /// [heads, 2 * longest - 1]. Errors: unsupported if a distance was not seen.
  Result<ir::Tensor> table() const {
    std::vector<float> values;
    for (const std::optional<double>& shift : shifts_) {
      if (!shift) return Error{ErrorCode::unsupported, "scores whose shifts are not all known"};
      values.push_back(static_cast<float>(*shift));
    }
    return ir::Tensor::from<float>({heads_, 2 * longest_ - 1}, values);
  }

 private:
  void look_at(const Effect* keys, Index length, Index real, Index head, Index token) {
    if (!scale_) scale_ = keys[0].factor;
    for (Index k = 0; k < length; ++k) {
      const Effect& effect = keys[k];
      if (k >= real) {
        fits_ = fits_ && effect.shift <= kHidden;
        continue;
      }
      std::optional<double>& known =
          shifts_[static_cast<std::size_t>(head * (2 * longest_ - 1) + longest_ - 1 + k - token)];
      if (!known) known = effect.shift;
      fits_ = fits_ && std::fabs(effect.shift) < -kHidden / 10 &&
              std::fabs(effect.shift - *known) <= kSameShift &&
              std::fabs(effect.factor - *scale_) <= kSameFactor * std::fabs(*scale_);
    }
  }

  Index heads_;
  Index longest_;
  std::vector<std::optional<double>> shifts_;
  std::optional<double> scale_;
  bool fits_ = true;
};

}  // namespace

Result<MaskMeaning> mask_meaning(const Scores& scores, std::span<const Probe> probes) {
  Judge plain(false);
  Judge causal(true);
  Index longest = 1;
  for (const Probe& probe : probes)
    longest = std::max(longest, probe.length);
  RelativeJudge relative(std::ssize(scores.query.heads), longest);
  for (const Probe& probe : probes) {
    RTAI_TRY(const Effects effects, Effects::make(scores, probe));
    plain.look_at(effects, probe);
    causal.look_at(effects, probe);
    relative.look_at(effects, probe);
  }
  if (plain.fits()) return MaskMeaning{.scale = plain.scale(), .causal = false};
  if (causal.fits()) return MaskMeaning{.scale = causal.scale(), .causal = true};
  if (relative.fits()) return MaskMeaning{.scale = relative.scale(), .relative = true};
  return Error{ErrorCode::unsupported,
               "the mask is neither key padding nor causal: " + plain.misfit()};
}

Result<ir::Tensor> relative_bias(const Scores& scores, const Probe& probe) {
  RTAI_TRY(const Effects effects, Effects::make(scores, probe));
  RelativeJudge judge(std::ssize(scores.query.heads), probe.length);
  judge.look_at(effects, probe);
  if (judge.fits()) return judge.table();
  return Error{
      ErrorCode::unsupported,
      fmt::format("over {} tokens, scores are not shifted by the distance of key and query "
                  "alone",
                  probe.length)};
}

}  // namespace rtai::raise

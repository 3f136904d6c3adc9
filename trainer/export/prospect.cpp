#include "trainer/export/prospect.h"

#include <algorithm>
#include <map>
#include <set>

#include "trainer/model/quantizers.h"

namespace sterna::exporter {
namespace {

constexpr int64_t kRowsTried = 8;

/// Quantizers of the same rule and width make the same of a few rows.
class Trials {
 public:
  explicit Trials(const quant::Plan& plan) : plan_(plan) {}

  std::optional<quant::Encoded> scheme(const model::Parameter& p) {
    const auto quantizer = model::build_quantizer(plan_, p);
    if (!quantizer)
      return std::nullopt;
    const std::string key = plan_.rule_of(model::module_of(p.name), model::place_of(p)) + "/" +
                            std::to_string(p.shape[1]);
    const auto found = tried_.find(key);
    if (found != tried_.end())
      return found->second;
    const int64_t rows = std::min(p.shape[0], kRowsTried);
    const at::Tensor w = at::arange(rows * p.shape[1], at::kFloat).sin_().view({rows, p.shape[1]});
    quantizer->init(w);
    return tried_.emplace(key, quantizer->encode(w)).first->second;
  }

 private:
  const quant::Plan& plan_;
  std::map<std::string, quant::Encoded> tried_;
};

}  // namespace

Prospect prospect_of(const model::DecoderConfig& config,
                     const quant::Plan& plan,
                     std::string activations) {
  Prospect prospect{config, {}, std::move(activations), false};
  model::Decoder shapes(config, at::kFloat);
  std::set<std::string> names;
  for (const model::Parameter& p : shapes.parameters())
    names.insert(p.name);
  Trials trials(plan);
  for (const model::Parameter& p : shapes.parameters())
    if (p.matrix && !p.adapter && p.shape.size() == 2)
      prospect.matrices.push_back({p.name,
                                   p.shape[0],
                                   p.shape[1],
                                   names.contains(model::module_of(p.name) + ".bias"),
                                   trials.scheme(p)});
  // As they are written: the first that does not fit is the same.
  std::sort(
      prospect.matrices.begin(),
      prospect.matrices.end(),
      [](const Prospect::Matrix& a, const Prospect::Matrix& b) { return a.tensor < b.tensor; });
  return prospect;
}

}  // namespace sterna::exporter

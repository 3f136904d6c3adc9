#include "distill/hidden.h"

#include <algorithm>

#include "recipes/glob.h"

namespace sterna::distill {
namespace {

struct HiddenConfig {
  std::string match;
  double weight = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("match", match, "sites: embed_tokens, layers.0, ..., norm; * stands for anything");
    v("weight", weight, "factor of the mean square there", recipes::Range{0.0, 1e6});
  }
};

}  // namespace

std::vector<recipes::Field> hidden_fields() {
  return recipes::list_fields<HiddenConfig>();
}

HiddenLoss::HiddenLoss(recipes::Section kd) {
  for (recipes::Section own : kd.tables("hidden")) {
    const auto config = own.read<HiddenConfig>();
    if (config.match.empty())
      own.fail("match", "expected hidden states to compare, for example match = \"layers.*\"");
    rules_.push_back({config.match, config.weight, own.where("match")});
  }
}

double HiddenLoss::weight(const std::string& site) const {
  for (const Rule& rule : rules_)
    if (recipes::glob_matches(rule.match, site))
      return rule.weight;
  return 0;
}

void HiddenLoss::require_matches(const std::vector<std::string>& sites) const {
  for (const Rule& rule : rules_) {
    const bool matched = std::any_of(sites.begin(), sites.end(), [&](const std::string& site) {
      return recipes::glob_matches(rule.match, site);
    });
    if (!matched)
      throw recipes::RecipeError(rule.where + ": kd.hidden: \"" + rule.match +
                                 "\" matches no hidden state of this model; the nearest is '" +
                                 recipes::nearest_to_glob(rule.match, sites) + "'");
  }
}

std::string hidden_site(int64_t part, int64_t layers) {
  if (part == 0)
    return "embed_tokens";
  if (part == layers)
    return "";
  return part > layers ? "norm" : "layers." + std::to_string(part - 1);
}

std::vector<std::string> hidden_sites(int64_t layers) {
  std::vector<std::string> sites;
  for (int64_t part = 0; part <= layers + 1; ++part)
    if (std::string site = hidden_site(part, layers); !site.empty())
      sites.push_back(std::move(site));
  return sites;
}

Tensor mean_square_gradient(const Tensor& student,
                            const Tensor& teacher,
                            double scale,
                            const Tensor& sum) {
  const Tensor apart = student.to(at::kFloat) - teacher.to(at::kFloat);
  const auto width = static_cast<double>(student.size(-1));
  Tensor total = sum;
  total.add_(apart.square().sum(at::kDouble), 1 / width);
  return (apart * (2 * scale / width)).to(student.scalar_type());
}

}  // namespace sterna::distill

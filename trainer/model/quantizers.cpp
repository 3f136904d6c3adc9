#include "trainer/model/quantizers.h"

namespace sterna::model {
namespace {

/// True where `target` has a row for each row that `master` has of its matrix, and the checkpoint
/// one for each of the whole matrix.
bool is_cut(const Tensor& target,
            const Tensor& master,
            const CheckpointTensor& listed,
            const CheckpointTensor& matrix) {
  if (target.dim() == 0 || target.size(0) != master.size(0) || listed.shape.empty())
    return false;
  return rows_of(listed) == rows_of(matrix) && rows_of(matrix) > master.size(0) &&
         target.sizes().slice(1) == at::IntArrayRef(listed.shape).slice(1);
}

}  // namespace

std::string module_of(const std::string& parameter) {
  constexpr std::string_view kSuffix = ".weight";
  return parameter.ends_with(kSuffix) ? parameter.substr(0, parameter.size() - kSuffix.size())
                                      : parameter;
}

quant::Place place_of(const Parameter& parameter) {
  return parameter.layer < 0 ? quant::Place::kOutside : quant::Place::kBlock;
}

std::unique_ptr<quant::Quantizer> build_quantizer(const quant::Plan& plan,
                                                  const Parameter& parameter) {
  if (!parameter.matrix || parameter.adapter)
    return nullptr;
  return plan.build(module_of(parameter.name), place_of(parameter));
}

std::vector<std::string> quantizable_modules(Decoder& decoder) {
  std::vector<std::string> modules;
  for (const Parameter& parameter : decoder.parameters())
    if (parameter.matrix && !parameter.adapter)
      modules.push_back(module_of(parameter.name));
  return modules;
}

std::string quantizer_tensor(const std::string& parameter, const std::string& name) {
  return parameter + ".quant." + name;
}

const CheckpointTensor& StoredQuantizers::need(const std::string& kind,
                                               const std::string& name) const {
  const CheckpointTensor* found = tensors_.find(kind, name);
  if (found == nullptr)
    throw io::FileError(tensors_.checkpoint().string() + ": " + name +
                        " is absent, though the recipe's quantizer has it: was the model or "
                        "[quant] changed since?");
  return *found;
}

void StoredQuantizers::restore(quant::Quantizer& quantizer,
                               const std::string& parameter,
                               const Tensor& master,
                               int64_t first_row) const {
  quantizer.allocate(master);
  const CheckpointTensor* matrix = tensors_.find("master", parameter);
  const auto fill = [&](const std::vector<quant::NamedTensor>& targets, const char* kind) {
    for (const quant::NamedTensor& each : targets) {
      const std::string name = quantizer_tensor(parameter, each.name);
      const CheckpointTensor& listed = need(kind, name);
      if (each.tensor.sizes() == listed.shape) {
        Tensor(each.tensor).copy_(tensors_.read(listed));
      } else if (matrix != nullptr && is_cut(each.tensor, master, listed, *matrix)) {
        Tensor(each.tensor).copy_(tensors_.read(listed, first_row, first_row + master.size(0)));
      } else {
        throw io::FileError(tensors_.checkpoint().string() + ": " + name +
                            " has another shape than the recipe's quantizer gives it: was the "
                            "model or [quant] changed since?");
      }
    }
  };
  fill(quantizer.parameters(), "quant");
  fill(quantizer.buffers(), "buffer");
}

void StoredQuantizers::require_scales(const quant::Encoded& encoded,
                                      const std::string& parameter) const {
  const auto equal = [&](const Tensor& computed, const char* name) {
    return at::equal(computed, tensors_.read(need("buffer", quantizer_tensor(parameter, name))));
  };
  const bool scales =
      equal(encoded.scales, kScalesInUse) &&
      (!encoded.scales_below.defined() || equal(encoded.scales_below, kScalesBelowInUse));
  const bool zeros = !encoded.zeros.defined() || equal(encoded.zeros, kZerosInUse);
  if (!scales || !zeros)
    throw io::FileError(tensors_.checkpoint().string() + ": " + parameter +
                        ": this program computes other " + (scales ? "zero points" : "scales") +
                        " than the one that trained it stored; use the version that the manifest "
                        "names");
}

}  // namespace sterna::model

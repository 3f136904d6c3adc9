#include "trainer/model/adapters.h"

#include "recipes/user_error.h"

namespace sterna::model {
namespace {

std::string matrix_name(const quant::Linear& linear, const quant::AdapterMatrix& matrix) {
  return linear.name + "." + matrix.name;
}

}  // namespace

void attach_adapters(Decoder& decoder, const quant::AdapterPlan& plan) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const Parameter& parameter : decoder.parameters())
    shapes[parameter.name] = parameter.shape;
  std::vector<std::string> modules;
  for (const quant::Linear* linear : decoder.linears())
    modules.push_back(linear->name);
  plan.require_matches(modules);
  for (quant::Linear* linear : decoder.linears()) {
    linear->adapter = plan.build(linear->name);
    if (!linear->adapter)
      continue;
    const std::vector<int64_t>& shape = shapes.at(linear->name + ".weight");
    try {
      linear->adapter->attach(linear->name, shape[0], shape[1]);
    } catch (const recipes::UserError& error) {
      throw recipes::UserError(linear->name + " [" + std::to_string(shape[0]) + ", " +
                               std::to_string(shape[1]) + "]: " + error.what());
    }
  }
}

std::map<std::string, Tensor> initial_adapters(Decoder& decoder, uint64_t seed) {
  std::map<std::string, Tensor> values;
  for (const quant::Linear* linear : decoder.linears()) {
    if (!linear->adapter)
      continue;
    const std::vector<Tensor> initial = linear->adapter->initial(seed);
    const std::vector<quant::AdapterMatrix> matrices = linear->adapter->matrices();
    for (size_t i = 0; i < matrices.size(); ++i)
      values[matrix_name(*linear, matrices[i])] = initial.at(i);
  }
  return values;
}

Tensor learned_delta(quant::Linear& linear,
                     const std::function<Tensor(const std::string&)>& value) {
  for (const quant::AdapterMatrix& matrix : linear.adapter->matrices())
    *matrix.value = value(matrix_name(linear, matrix));
  return linear.adapter->delta();
}

}  // namespace sterna::model

#include "trainer/run/average.h"

#include "trainer/io/tensor_file.h"

namespace sterna::run {

Average::Average(Student& student, double keep)
    : student_(student), keep_(keep), live_(trained_tensors(student)) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : live_)
    average_[name] = tensor.clone();
}

void Average::follow() {
  const at::NoGradGuard no_grad;
  for (auto& [name, average] : average_)
    average.lerp_(live_.at(name), 1 - keep_);
}

void Average::exchange() {
  const at::NoGradGuard no_grad;
  for (auto& [name, average] : average_) {
    const Tensor kept = average.clone();
    average.copy_(live_.at(name));
    live_.at(name).copy_(kept);
  }
  touch(student_.all());
}

void Average::restore(const std::map<std::string, Tensor>& stored, const std::string& from) {
  const at::NoGradGuard no_grad;
  for (auto& [name, average] : average_) {
    const auto found = stored.find(name);
    if (found == stored.end() || found->second.sizes() != average.sizes())
      throw io::FileError(from + ": the average of " + name +
                          (found == stored.end() ? " is absent" : " has another shape") +
                          ": was the model changed since?");
    average.copy_(found->second);
  }
}

}  // namespace sterna::run

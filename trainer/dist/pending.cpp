#include "trainer/dist/pending.h"

#include <map>

namespace sterna::dist {

using at::Tensor;

void Flat::give_back() const {
  int64_t at = 0;
  for (const Tensor& part : parts) {
    Tensor(part).copy_(whole.narrow(0, at, part.numel()).view_as(part));
    at += part.numel();
  }
}

std::vector<Flat> flatten(const std::vector<Tensor>& tensors) {
  std::map<std::pair<at::DeviceType, at::ScalarType>, std::vector<Tensor>> alike;
  for (const Tensor& tensor : tensors)
    if (tensor.numel() > 0)
      alike[{tensor.device().type(), tensor.scalar_type()}].push_back(tensor);
  std::vector<Flat> flats;
  for (const auto& [kind, same] : alike) {
    if (same.size() == 1 && same[0].is_contiguous()) {
      flats.push_back({same[0].view({-1}), {}});
      continue;
    }
    std::vector<Tensor> rows;
    for (const Tensor& tensor : same)
      rows.push_back(tensor.reshape({-1}));
    flats.push_back({at::cat(rows), same});
  }
  return flats;
}

void Pending::add(const Start& start, Flat flat) {
  try {
    works_.push_back(start(flat.whole));
  } catch (const std::exception& error) {
    pulse_.lost(error.what());
  }
  flats_.push_back(std::move(flat));
}

void Pending::wait() {
  if (done_)
    return;
  done_ = true;
  pulse_.wait_for(number_, patient_);
  try {
    for (const auto& work : works_)
      work->wait();
  } catch (const std::exception& error) {
    pulse_.lost(error.what());
  }
  pulse_.wait_for(0);
  for (const Flat& flat : flats_)
    flat.give_back();
  pulse_.end(number_);
}

}  // namespace sterna::dist

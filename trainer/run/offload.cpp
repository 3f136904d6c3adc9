#include "trainer/run/offload.h"

#include <ATen/core/grad_mode.h>

namespace sterna::run {

void Offload::begin() {
  if (copier_)
    copier_->finish();
  for (Place& place : places_)
    place.stored = place.here = Tensor();
  last_ = -1;
}

Offload::Place* Offload::at(int64_t place) {
  const bool known = place >= 0 && place < static_cast<int64_t>(places_.size());
  return known && places_[place].stored.defined() ? &places_[place] : nullptr;
}

void Offload::put(int64_t index, const Tensor& input) {
  const at::NoGradGuard no_grad;
  if (!copier_)
    copier_ = make_copier(input.device());
  // The one before had a block's time to leave.
  copier_->finish();
  if (Place* before = at(last_))
    before->here = Tensor();
  if (index >= static_cast<int64_t>(places_.size()))
    places_.resize(index + 1);
  Place& place = places_[index];
  if (!place.buffer.defined() || place.buffer.numel() < input.numel() ||
      place.buffer.scalar_type() != input.scalar_type())
    place.buffer =
        at::empty({input.numel()}, input.options().device(at::kCPU).pinned_memory(!input.is_cpu()));
  place.stored = place.buffer.narrow(0, 0, input.numel()).view(input.sizes());
  place.here = input;
  device_ = input.device();
  copier_->start(place.stored, place.here);
  last_ = index;
}

void Offload::fetch(int64_t index) {
  Place* place = at(index);
  if (place == nullptr || place->here.defined())
    return;
  place->here = at::empty(place->stored.sizes(), place->stored.options().device(device_));
  copier_->start(place->here, place->stored);
}

Tensor Offload::take(int64_t index) {
  Place* place = at(index);
  TORCH_CHECK(place != nullptr, "offload: nothing was put at ", index);
  fetch(index);
  copier_->finish();
  place->stored = Tensor();
  return std::move(place->here);
}

int64_t Offload::host_bytes() const {
  int64_t sum = 0;
  for (const Place& place : places_)
    sum += place.buffer.defined() ? static_cast<int64_t>(place.buffer.nbytes()) : 0;
  return sum;
}

}  // namespace sterna::run
